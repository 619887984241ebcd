"""Custom resource definitions: checked, put into the table of kinds, taken out again."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Any

from . import statuses
from .builtin import model_node
from .deletion import CLEANUP_FINALIZER, DeleteOptions, Deletion
from .kinds import METADATA, Column, Kind, Kinds, ScalePaths
from .names import LABEL, LABEL_TEXT, SUBDOMAIN
from .options import WriteOptions
from .registry import Registry, timestamp
from .rules import InvalidRule, parse_rules
from .schema import MISSING, Node, go_pattern, parse_schema
from .statuses import Cause, forbidden_field, invalid_value, not_supported, required
from .storage import Event, Key
from .strategies import missing_fields
from .validation import shape

Object = dict[str, Any]
RESOURCE = ("apiextensions.k8s.io", "customresourcedefinitions")
TYPES = ("array", "boolean", "integer", "number", "object", "string")
AGE = Column("Age", "date", ".metadata.creationTimestamp")
ANY_FIELD = Node(type="object", fields={"metadata": METADATA}, preserve=True, bare=True)
CUSTOM_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")


class Definitions:
    """Serves what the stored definitions define, from the moment they are written."""

    def __init__(self, registry: Registry, deletion: Deletion) -> None:
        self._registry = registry
        self._deletion = deletion
        self._kinds: Kinds = registry.kinds
        registry.admission.append(self._admit)
        registry.store.changed.append(self._written)

    def _admit(self, kind: Kind, obj: Object, old: Object | None) -> Object:
        if kind.storage_key != RESOURCE:
            return obj
        if old is None or obj.get("spec") != old.get("spec"):
            causes = missing_fields(obj, kind) or list(definition_causes(obj, old))
            if causes:
                raise statuses.invalid(kind.group, kind.kind, obj["metadata"]["name"], causes)
        if old is None:
            stored = [version["name"] for version in obj["spec"]["versions"] if version.get("storage")]
            blank = {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored}
            return {**obj, "status": blank}
        return obj

    def _written(self, key: Key, event: Event) -> None:
        if key != RESOURCE:
            if event.type == "DELETED" and self._registry.store.collection(RESOURCE).get("", f"{key[1]}.{key[0]}"):
                asyncio.get_running_loop().call_soon(self._settle, f"{key[1]}.{key[0]}")
            return
        spec = event.item.object["spec"]
        resource = (spec["group"], spec["names"]["plural"])
        if event.type == "DELETED":
            self._kinds.install(*resource, ())
            self._registry.store.drop(resource)
            return
        if event.before is None or event.before.object["spec"] != spec:
            self._kinds.install(*resource, versions_of(event.item.object))
        asyncio.get_running_loop().call_soon(self._settle, event.item.object["metadata"]["name"])

    def _settle(self, name: str) -> None:
        """Accept the names; of a definition that is being deleted, delete all objects and then let it go."""
        item = self._registry.store.collection(RESOURCE).get("", name)
        if item is None:
            return
        obj, status = item.object, item.object.get("status", {})
        if obj["metadata"].get("deletionTimestamp"):
            self._clean_up(obj)
            return
        accepted = _accepted(obj, status)
        kind = self._kinds.storage(*RESOURCE)
        if accepted != status and kind is not None:
            options = WriteOptions(manager="kube-apiserver")
            self._registry.update(kind, "", name, lambda old: {**old, "status": accepted}, "status", options)

    def _clean_up(self, obj: Object) -> None:
        finalizers = obj["metadata"].get("finalizers") or []
        if CLEANUP_FINALIZER not in finalizers:
            return
        spec = obj["spec"]
        kind = self._kinds.storage(spec["group"], spec["names"]["plural"])
        collection = self._registry.store.collection((spec["group"], spec["names"]["plural"]))
        for item in collection.items() if kind is not None else ():
            metadata = item.object["metadata"]
            if kind is not None and not metadata.get("deletionTimestamp"):
                self._deletion.delete(kind, metadata.get("namespace", ""), metadata["name"], DeleteOptions())
        if collection.items():
            return
        left = [each for each in finalizers if each != CLEANUP_FINALIZER]
        metadata = {key: value for key, value in obj["metadata"].items() if key != "finalizers"}
        if left:
            metadata["finalizers"] = left
        self._registry.store.put(RESOURCE, "", obj["metadata"]["name"], {**obj, "metadata": metadata})


def _accepted(obj: Object, status: Object) -> Object:
    now = timestamp()
    established = [
        {"type": "NamesAccepted", "reason": "NoConflicts", "message": "no conflicts found"},
        {"type": "Established", "reason": "InitialNamesAccepted", "message": "the initial names have been accepted"},
    ]
    conditions = [{**condition, "status": "True", "lastTransitionTime": now} for condition in established]
    known = {each["type"] for each in status.get("conditions") or []}
    kept = [*(status.get("conditions") or []), *(each for each in conditions if each["type"] not in known)]
    storage = [version["name"] for version in obj["spec"]["versions"] if version.get("storage")]
    stored = list(dict.fromkeys([*(status.get("storedVersions") or []), *storage]))
    return {"conditions": kept, "acceptedNames": obj["spec"]["names"], "storedVersions": stored}


def versions_of(definition: Object) -> tuple[Kind, ...]:
    """The kinds a definition serves, one per served version."""
    spec = definition["spec"]
    names = spec["names"]
    storage = next(version["name"] for version in spec["versions"] if version.get("storage"))
    made = []
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        subresources = version.get("subresources") or {}
        scale = subresources.get("scale")
        raw = (version.get("schema") or {}).get("openAPIV3Schema")
        made.append(
            Kind(
                group=spec["group"],
                version=version["name"],
                kind=names["kind"],
                plural=names["plural"],
                schema=parse_schema(raw, METADATA) if raw else ANY_FIELD,
                singular=names["singular"],
                list_kind=names["listKind"],
                namespaced=spec["scope"] == "Namespaced",
                short_names=tuple(names.get("shortNames") or ()),
                categories=tuple(names.get("categories") or ()),
                verbs=CUSTOM_VERBS,
                status="status" in subresources,
                scale=_scale_paths(scale) if scale else None,
                generation=True,
                custom=True,
                storage_version=storage,
                columns=_columns(version.get("additionalPrinterColumns")),
                selectable=tuple(each["jsonPath"].lstrip(".") for each in version.get("selectableFields") or ()),
                raw_schema=raw or {},
            )
        )
    return tuple(made)


def _scale_paths(scale: Mapping[str, str]) -> ScalePaths:
    return ScalePaths(scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath", ""))


def _columns(raw: Any) -> tuple[Column, ...]:
    if not raw:
        return (AGE,)
    return tuple(
        Column(
            each["name"], each["type"], each["jsonPath"], each.get("description", ""), each.get("format", ""),
            each.get("priority", 0),
        )
        for each in raw
    )  # fmt: skip


def definition_causes(obj: Object, old: Object | None) -> Iterator[Cause]:
    """What is wrong with a definition."""
    spec, name = obj.get("spec") or {}, obj["metadata"]["name"]
    names = spec.get("names") or {}
    yield from _names_causes(spec, names, name)
    if spec.get("scope") not in {"Namespaced", "Cluster"}:
        yield not_supported("spec.scope", spec.get("scope", ""), ["Cluster", "Namespaced"])
    versions = spec.get("versions") or []
    if sum(bool(version.get("storage")) for version in versions) != 1:
        text = "must have exactly one version marked as storage version"
        yield invalid_value("spec.versions", versions, text)
    for index, version in enumerate(versions):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if not LABEL.match(str(version.get("name", ""))):
            yield invalid_value(f"spec.versions[{index}].name", version.get("name", ""), LABEL_TEXT)
        where = "spec.validation" if len(versions) == 1 else f"spec.versions[{index}].schema"
        if schema is None:
            yield required(f"spec.versions[{index}].schema.openAPIV3Schema", "schemas are required")
        else:
            yield from _root_causes(schema, f"{where}.openAPIV3Schema")
    if old is not None:
        for field in ("group", "scope"):
            if spec.get(field) != old["spec"].get(field):
                yield invalid_value(f"spec.{field}", spec.get(field), "field is immutable")


def _names_causes(spec: Object, names: Object, name: str) -> Iterator[Cause]:
    group, plural = spec.get("group", ""), names.get("plural", "")
    if not group or not SUBDOMAIN.match(group):
        yield required("spec.group") if not group else invalid_value("spec.group", group, "should be a domain")
    for field in ("plural", "kind"):
        if not names.get(field):
            yield required(f"spec.names.{field}")
    if name != f"{plural}.{group}":
        yield invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group')


def _root_causes(schema: Object, path: str) -> Iterator[Cause]:
    if schema.get("type") != "object":
        yield invalid_value(f"{path}.type", schema.get("type", ""), "must be object at the root")
    yield from structural_causes(schema, path, root=True)


def structural_causes(schema: Object, path: str, root: bool = False) -> Iterator[Cause]:
    """Why a schema is not structural; see "Specifying a structural schema" in the Kubernetes documentation."""
    open_ended = schema.get("x-kubernetes-int-or-string") or schema.get("x-kubernetes-preserve-unknown-fields")
    if not schema.get("type") and not open_ended:
        yield required(f"{path}.type", "must not be empty for specified object fields")
    elif schema.get("type") and schema["type"] not in TYPES:
        yield not_supported(f"{path}.type", schema["type"], TYPES)
    for word, text in (("$ref", "$ref is not supported"), ("definitions", "definitions is not supported")):
        if word in schema:
            yield forbidden_field(f"{path}.{word}", text)
    if schema.get("uniqueItems"):
        yield forbidden_field(
            f"{path}.uniqueItems", "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        )
    if "properties" in schema and schema.get("additionalProperties", True) is not True:
        yield forbidden_field(
            f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive"
        )
    if schema.get("type") == "array" and "items" not in schema:
        yield required(f"{path}.items", "must be specified")
    yield from _list_causes(schema, path)
    yield from _expression_causes(schema, path)
    if not schema.get("x-kubernetes-int-or-string"):
        yield from _junctor_causes(schema, path)
    for name, each in (schema.get("properties") or {}).items():
        if root and name in {"apiVersion", "kind", "metadata"}:
            continue
        yield from structural_causes(each, f"{path}.properties[{name}]")
    if "items" in schema:
        yield from structural_causes(schema["items"], f"{path}.items")
    values = schema.get("additionalProperties")
    if isinstance(values, dict):
        malformed = list(shape(values, MISSING, model_node("V1JSONSchemaProps"), f"{path}.additionalProperties"))
        yield from malformed or structural_causes(values, f"{path}.additionalProperties")


def _list_causes(schema: Object, path: str) -> Iterator[Cause]:
    list_type, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys")
    if list_type == "map" and not keys:
        text = "must not be empty if x-kubernetes-list-type is map"
        yield required(f"{path}.x-kubernetes-list-map-keys", text)
    items = schema.get("items") or {}
    for key in keys or () if list_type == "map" else ():
        if key not in (items.get("properties") or {}):
            text = "entries must all be names of item properties"
            yield invalid_value(f"{path}.x-kubernetes-list-map-keys", keys, text)
        elif key not in items.get("required", ()) and "default" not in items["properties"][key]:
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield required(f"{path}.items.properties[{key}].default", text)


def _expression_causes(schema: Object, path: str) -> Iterator[Cause]:
    for index, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        try:
            parse_rules([rule])
        except InvalidRule as error:
            yield invalid_value(f"{path}.x-kubernetes-validations[{index}].rule", rule.get("rule", ""), str(error))
    if "pattern" in schema:
        try:
            go_pattern(schema["pattern"])
        except re.error as error:
            text = f"must be a valid regular expression, but isn't: error parsing regexp: {error}"
            yield invalid_value(f"{path}.pattern", schema["pattern"], text)


def _junctor_causes(schema: Object, path: str) -> Iterator[Cause]:
    """Logical junctors constrain values; only outside of them may fields be specified."""
    for word in ("allOf", "anyOf", "oneOf"):
        for index, option in enumerate(schema.get(word) or ()):
            for forbidden in ("type", "default", "description", "title", "nullable"):
                if forbidden in option:
                    yield forbidden_field(f"{path}.{word}[{index}].{forbidden}", "must be empty to be structural")
            for name in option.get("properties") or {}:
                if name not in (schema.get("properties") or {}):
                    outside = f"{path}.properties[{name}]"
                    text = f"because it is defined in {path}.{word}[{index}].properties[{name}]"
                    yield required(outside, text)
