"""OpenAPI v3: one document per group version, which kubectl reads to validate, to patch and to explain."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version as package_version
from typing import Any

from .builtin import ModelNode, model_node, read_model
from .kinds import Kind, Kinds
from .schema import Node
from .storage import encoded

Object = dict[str, Any]
META = "io.k8s.apimachinery.pkg.apis.meta.v1"
META_MODELS = frozenset(
    {
        "Condition", "DeleteOptions", "LabelSelector", "LabelSelectorRequirement", "ListMeta", "ManagedFieldsEntry",
        "ObjectMeta", "OwnerReference", "Preconditions", "Status", "StatusCause", "StatusDetails",
    }
)  # fmt: skip
PATCH_TYPES = ("application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json")
STRATEGIC = "application/strategic-merge-patch+json"
WRITE_PARAMETERS = {
    "dryRun": "When present, indicates that modifications should not be persisted. Valid values are: - All",
    "fieldManager": "fieldManager is a name associated with the actor or entity that is making these changes.",
    "fieldValidation": "fieldValidation instructs the server on how to handle unknown or duplicate fields: Ignore, "
    "Warn (the default) or Strict.",
}
LIST_PARAMETERS = (
    "allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit", "resourceVersion",
    "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds", "watch",
)  # fmt: skip
TYPE_TEXTS = {
    "apiVersion": "APIVersion defines the versioned schema of this representation of an object. Servers should convert "
    "recognized schemas to the latest internal value, and may reject unrecognized values. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources",
    "kind": "Kind is a string value representing the REST resource this object represents. Servers may infer this from "
    "the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds",
    "metadata": "Standard object's metadata. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata",
}


def path_of(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def index(kinds: Kinds) -> Object:
    """`/openapi/v3`: where each document is, under a hash of its content."""
    paths = {}
    for group, versions in kinds.groups().items():
        for version in versions:
            path = path_of(group, version)
            digest = _digest(kinds.of(group, version))
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return {"paths": paths}


def _digest(kinds: list[Kind]) -> str:
    digest = hashlib.sha256(package_version("kubernetes").encode())
    for kind in kinds:
        digest.update(encoded([kind.kind, kind.plural, kind.status, kind.scale is not None, dict(kind.raw_schema)]))
    return digest.hexdigest().upper()


def document(kinds: Kinds, group: str, version: str) -> bytes | None:
    """One group version's document, as JSON; None for what is not served."""
    served = tuple(kinds.of(group, version))
    return _document(served, group, version) if served else None


@lru_cache(maxsize=64)
def _document(served: tuple[Kind, ...], group: str, version: str) -> bytes:
    schemas = Schemas(group, version)
    paths: Object = {}
    for kind in served:
        name = schemas.add_kind(kind)
        paths.update(_paths(kind, name))
    components = {"schemas": dict(sorted(schemas.found.items()))}
    title = "Kubernetes CRD Swagger" if served[0].custom else "Kubernetes"
    return encoded(
        {"openapi": "3.0.0", "info": {"title": title, "version": "v0.1.0"}, "paths": paths, "components": components}
    )


def _gvk(kind: Kind, name: str = "") -> Object:
    return {"group": kind.group, "version": kind.version, "kind": name or kind.kind}


def _reference(name: str) -> Object:
    return {"$ref": f"#/components/schemas/{name}"}


class Schemas:
    """Collects the component schemas a document refers to."""

    def __init__(self, group: str, version: str) -> None:
        self._prefix = f"io.k8s.api.{(group or 'core').split('.')[0]}.{version}"
        self._reversed = ".".join(reversed(group.split(".")))
        self._version = version
        self.found: Object = {}

    def add_kind(self, kind: Kind) -> str:
        """The component name of a whole kind; its list comes with it."""
        if kind.custom:
            name = f"{self._reversed}.{self._version}.{kind.kind}"
            self.found[name] = self._custom(kind)
        else:
            name = f"{self._prefix}.{kind.kind}"
            if isinstance(kind.schema, ModelNode):
                self.found[name] = self._model(kind.schema.model)
            self.found[name]["x-kubernetes-group-version-kind"] = [_gvk(kind)]
        conventions = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
        text = f"List of {kind.plural}. More info: {conventions}"
        items = {"description": text, "type": "array", "items": _reference(name)}
        self.found[f"{name}List"] = {
            "description": f"{kind.list_kind} is a list of {kind.kind}",
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string", "description": TYPE_TEXTS["apiVersion"]},
                "items": items,
                "kind": {"type": "string", "description": TYPE_TEXTS["kind"]},
                "metadata": self._referred(
                    "V1ListMeta", f"Standard list metadata. More info: {conventions}#types-kinds"
                ),
            },
            "x-kubernetes-group-version-kind": [_gvk(kind, kind.list_kind)],
        }
        return name

    def _custom(self, kind: Kind) -> Object:
        raw = dict(kind.raw_schema)
        properties = dict(raw.get("properties", {}))
        for name in ("apiVersion", "kind"):
            properties[name] = {"type": "string", "description": TYPE_TEXTS[name]}
        properties["metadata"] = self._referred("V1ObjectMeta", TYPE_TEXTS["metadata"])
        return {**raw, "type": "object", "properties": properties, "x-kubernetes-group-version-kind": [_gvk(kind)]}

    def _component(self, model: str) -> str:
        bare = model.removeprefix("CoreV1").removeprefix("EventsV1").removeprefix("RbacV1")
        bare = bare[2:] if bare[:1] == "V" and bare[1:2].isdigit() else bare
        if bare in META_MODELS:
            return f"{META}.{bare}"
        return f"{self._prefix}.{bare}"

    def _referred(self, model: str, description: str) -> Object:
        name = self._component(model)
        if name not in self.found:
            self.found[name] = {}  # guards against types that contain themselves
            self.found[name].update(self._model(model))
        return {"description": description, "allOf": [_reference(name)]}

    def _model(self, model: str) -> Object:
        node = model_node(model)
        properties = {name: self._value(each) for name, each in (node.properties or {}).items()}
        made: Object = {"type": "object", "description": read_model(model).description, "properties": properties}
        if node.required_names:
            made["required"] = list(node.required_names)
        if node.atomic:
            made["x-kubernetes-map-type"] = "atomic"
        return made

    def _value(self, node: Node) -> Object:
        if isinstance(node, ModelNode):
            return self._referred(node.model, node.description)
        made: Object = {"description": node.description} if node.description else {}
        if node.int_or_string:
            return {**made, "oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"}
        if node.type:
            made["type"] = node.type
        if node.items is not None:
            made["items"] = self._value(node.items)
        if node.additional is not None:
            made["additionalProperties"] = self._value(node.additional)
        if node.type == "array":
            made["x-kubernetes-list-type"] = node.list_type
        if node.list_keys:
            made["x-kubernetes-list-map-keys"] = list(node.list_keys)
        if node.patch_strategy:
            made["x-kubernetes-patch-strategy"] = node.patch_strategy
        if node.patch_key:
            made["x-kubernetes-patch-merge-key"] = node.patch_key
        return made


def _parameters(names: Mapping[str, str]) -> list[Object]:
    schema = {"type": "string", "uniqueItems": True}
    return [{"name": name, "in": "query", "description": text, "schema": schema} for name, text in names.items()]


def _operation(kind: Kind, action: str, name: str, parameters: Mapping[str, str], body: tuple[str, ...] = ()) -> Object:
    content = {"application/json": {"schema": _reference(name)}}
    operation: Object = {
        "operationId": f"{action}{kind.kind}",
        "parameters": _parameters(parameters),
        "responses": {"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(kind),
    }
    if body:
        operation["requestBody"] = {
            "content": {each: {"schema": {"type": "object"}} for each in body},
            "required": True,
        }
    return operation


def _paths(kind: Kind, name: str) -> Object:
    root = f"/{path_of(kind.group, kind.version)}"
    collection = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
    json_types = ("application/json", "application/yaml")
    patch_types = PATCH_TYPES if kind.custom else (*PATCH_TYPES, STRATEGIC)
    listing = dict.fromkeys(LIST_PARAMETERS, "")
    forced = {**WRITE_PARAMETERS, "force": "Re-acquire conflicting fields owned by other people."}
    item = {
        "get": _operation(kind, "get", name, {"resourceVersion": ""}),
        "put": _operation(kind, "put", name, WRITE_PARAMETERS, json_types),
        "patch": _operation(kind, "patch", name, forced, patch_types),
        "delete": _operation(kind, "delete", name, {"dryRun": WRITE_PARAMETERS["dryRun"]}),
    }
    paths: Object = {
        collection: {
            "get": _operation(kind, "list", f"{name}List", listing),
            "post": _operation(kind, "post", name, WRITE_PARAMETERS, json_types),
        }
    }
    if kind.ephemeral:
        return {collection: {"post": paths[collection]["post"]}}
    paths[f"{collection}/{{name}}"] = item
    for subresource in ("status", "scale"):
        if kind.has_subresource(subresource):
            paths[f"{collection}/{{name}}/{subresource}"] = {word: item[word] for word in ("get", "put", "patch")}
    if kind.namespaced:
        paths[f"{root}/{kind.plural}"] = {"get": _operation(kind, "list", f"{name}List", listing)}
    return paths
