"""Schemas of the built-in types, read from the official client's models.

The models are read as text, class by class when first needed: importing them builds hundreds of pydantic classes and
costs a second, reading one takes a millisecond.
"""

import ast
import functools
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from .schema import ANYTHING, Node

SCALARS = {
    "str": Node(type="string"),
    "int": Node(type="integer"),
    "bool": Node(type="boolean"),
    "float": Node(type="number"),
    "datetime": Node(type="string"),
    "bytes": Node(type="string"),
    "object": ANYTHING,
}
INT_OR_STRING = Node(int_or_string=True)
# Where the client's models say less than they could.
TYPES: Mapping[tuple[str, str], str] = {("V1JSONSchemaProps", "items"): "V1JSONSchemaProps"}

# Lists merged by key rather than replaced (x-kubernetes-list-type in the Kubernetes sources), by field name; the
# item's model settles names used twice. Values: list type, keys, key of the strategic merge patch.
LISTS: Mapping[tuple[str, str], tuple[str, tuple[str, ...], str]] = {
    ("V1PodSpec", "containers"): ("map", ("name",), "name"),
    ("V1PodSpec", "initContainers"): ("map", ("name",), "name"),
    ("V1PodSpec", "ephemeralContainers"): ("map", ("name",), "name"),
    ("V1PodSpec", "volumes"): ("map", ("name",), "name"),
    ("V1PodSpec", "imagePullSecrets"): ("map", ("name",), "name"),
    ("V1PodSpec", "hostAliases"): ("map", ("ip",), "ip"),
    ("V1PodSpec", "topologySpreadConstraints"): ("map", ("topologyKey", "whenUnsatisfiable"), "topologyKey"),
    ("V1PodSpec", "resourceClaims"): ("map", ("name",), "name"),
    ("V1PodSpec", "schedulingGates"): ("map", ("name",), "name"),
    ("V1Container", "env"): ("map", ("name",), "name"),
    ("V1Container", "ports"): ("map", ("containerPort", "protocol"), "containerPort"),
    ("V1Container", "volumeMounts"): ("map", ("mountPath",), "mountPath"),
    ("V1Container", "volumeDevices"): ("map", ("devicePath",), "devicePath"),
    ("V1ServiceSpec", "ports"): ("map", ("port", "protocol"), "port"),
    ("V1ServiceAccount", "secrets"): ("map", ("name",), "name"),
    ("V1ObjectMeta", "ownerReferences"): ("map", ("uid",), "uid"),
    ("V1ObjectMeta", "finalizers"): ("set", (), ""),
    ("V1NodeStatus", "addresses"): ("map", ("type",), "type"),
    ("V1PodStatus", "podIPs"): ("map", ("ip",), "ip"),
    ("V1PodStatus", "hostIPs"): ("atomic", (), "ip"),
    ("V1NodeSpec", "podCIDRs"): ("set", (), ""),
    ("V1CustomResourceDefinitionStatus", "conditions"): ("map", ("type",), ""),
}
ATOMIC_MODELS = frozenset(
    {
        "RbacV1Subject", "V1ConfigMapKeySelector", "V1FileKeySelector", "V1IngressBackend", "V1LabelSelector",
        "V1LocalObjectReference", "V1NodeSelector", "V1NodeSelectorTerm", "V1ObjectFieldSelector", "V1ObjectReference",
        "V1OwnerReference", "V1ResourceFieldSelector", "V1RoleRef", "V1ScopeSelector", "V1SecretKeySelector",
        "V1SecretReference", "V1TopologySelectorTerm", "V1TypedLocalObjectReference",
    }
)  # fmt: skip
ATOMIC_MAPS = frozenset({("V1PodSpec", "nodeSelector"), ("V1ServiceSpec", "selector")})
# Present in an empty object: Go structs that are not pointers, and fields without omitempty.
BARE = frozenset(
    {
        "acceptedNames", "containers", "jobTemplate", "metadata", "names", "source", "spec", "status", "strategy",
        "template", "updateStrategy",
    }
)  # fmt: skip
BARE_IN = frozenset(
    {
        ("V1CustomResourceDefinitionStatus", "conditions"), ("V1CustomResourceDefinitionSpec", "versions"),
        ("CoreV1Event", "eventTime"), ("CoreV1Event", "reportingComponent"), ("CoreV1Event", "reportingInstance"),
    }
)  # fmt: skip
RETAINED_KEYS = frozenset({("V1DeploymentSpec", "strategy"), ("V1PodSpec", "volumes")})


@dataclass(frozen=True)
class Field:
    """One attribute of a model: JSON name, type expression, description."""

    name: str
    type: str
    description: str
    required: bool
    flexible: bool
    """An integer or a string."""


@dataclass(frozen=True)
class Model:
    """What the client's source says about one type."""

    description: str
    fields: tuple[Field, ...]


@dataclass(frozen=True, eq=False)
class ModelNode(Node):
    """A node whose properties are those of a model, read when first asked for."""

    model: str = ""

    @cached_property
    def _properties(self) -> Mapping[str, Node]:
        return model_properties(self.model)

    @property
    def properties(self) -> Mapping[str, Node] | None:
        return self._properties

    @property
    def required_names(self) -> tuple[str, ...]:
        return tuple(each.name for each in read_model(self.model).fields if each.required)

    @cached_property
    def has_rules(self) -> bool:
        return False

    @cached_property
    def has_defaults(self) -> bool:
        return False


def model_node(model: str) -> Node:
    """The schema of a whole built-in type, for example `V1Deployment`."""
    return ModelNode(type="object", model=model, bare=True, atomic=model in ATOMIC_MODELS)


@functools.cache
def _models_folder() -> Path:
    spec = importlib.util.find_spec("kubernetes")  # its client subpackage: naming that would import it all
    if spec is None or spec.origin is None:
        raise RuntimeError("the kubernetes package is not installed; reinstall protoqueue-devcluster")
    return Path(spec.origin).parent / "client" / "models"


@functools.cache
def model_files() -> Mapping[str, Path]:
    """The module of every model, by its name in lower case without underscores."""
    return {path.stem.replace("_", ""): path for path in _models_folder().glob("*.py")}


@functools.cache
def read_model(model: str) -> Model:
    """Read one model's attributes from its source. Raises KeyError for a model that does not exist."""
    text = model_files()[model.lower()].read_text(encoding="utf-8")
    start = text.index(f"class {model}(")
    body = text[start : text.index("\n    __properties:", start)]
    declared = ast.parse(body).body[0]
    if not isinstance(declared, ast.ClassDef):
        raise RuntimeError(f"unexpected shape of the client's model {model}")
    described = ast.get_docstring(declared) or ""
    attributes: dict[str, ast.AnnAssign] = {}
    for statement in declared.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            attributes[statement.target.id] = statement
    types = _literal(attributes["openapi_types"])
    names = _literal(attributes["attribute_map"])
    fields = tuple(_field(names[key], types[key], attributes.get(key)) for key in types)
    return Model(described.split("\n\n")[0], fields)


def _literal(statement: ast.AnnAssign) -> dict[str, str]:
    if statement.value is None:
        raise RuntimeError("unexpected shape of the client's models")
    found: dict[str, str] = ast.literal_eval(statement.value)
    return found


def _field(name: str, type_text: str, declared: ast.AnnAssign | None) -> Field:
    if declared is None:
        return Field(name, type_text, "", False, False)
    annotation = ast.unparse(declared.annotation)
    description, optional = "", annotation.startswith("Optional") or annotation == "Any"
    if isinstance(declared.value, ast.Call):
        for keyword in declared.value.keywords:
            if keyword.arg == "description" and isinstance(keyword.value, ast.Constant):
                description = str(keyword.value.value)
            elif keyword.arg in {"default", "default_factory"}:
                optional = True
    flexible = "StrictInt | StrictStr" in annotation
    return Field(name, type_text, description, not optional, flexible)


@functools.cache
def model_properties(model: str) -> Mapping[str, Node]:
    """The schemas of a model's fields."""
    return {each.name: _field_node(model, each) for each in read_model(model).fields}


def _field_node(model: str, each: Field) -> Node:
    node = INT_OR_STRING if each.flexible else _type_node(TYPES.get((model, each.name), each.type))
    bare = each.name in BARE or (model, each.name) in BARE_IN
    changes: dict[str, Any] = {"description": each.description, "bare": bare}
    if node.type == "array":
        rule = LISTS.get((model, each.name))
        if rule is None and each.name == "conditions" and node.items is not None:
            rule = ("map", ("type",), "type")
        if rule is not None:
            list_type, keys, patch_key = rule
            strategy = "merge" if patch_key or list_type == "set" else ""
            changes |= {"list_type": list_type, "list_keys": keys, "patch_key": patch_key, "patch_strategy": strategy}
    if (model, each.name) in RETAINED_KEYS:
        changes["patch_strategy"] = "merge,retainKeys" if node.type == "array" else "retainKeys"
    if (model, each.name) in ATOMIC_MAPS:
        changes["atomic"] = True
    return replace(node, **changes)


@functools.cache
def _type_node(text: str) -> Node:
    if text in SCALARS:
        return SCALARS[text]
    if text.startswith("List["):
        return Node(type="array", items=_type_node(text[5:-1]))
    if text.startswith("Dict["):
        return Node(type="object", additional=_type_node(text[5:-1].split(",", 1)[1].strip()))
    if text.lower() not in model_files():
        return ANYTHING
    return ModelNode(type="object", model=text, atomic=text in ATOMIC_MODELS)


OBJECT_META = replace(model_node("V1ObjectMeta"), bare=True)
