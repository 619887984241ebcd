"""What is wrong with a definition: its names, its versions, and schemas that are not structural.

Also rules that may be too much work (see `rule_costs`). Not looked at are the types in a rule, such as a field that the
schema does not know: real servers compile rules against the schema.
"""

import re
from collections.abc import Iterator
from typing import Any

from .builtin import model_node
from .expression_costs import cost
from .names import LABEL, LABEL_TEXT, SUBDOMAIN
from .rule_costs import cost_causes
from .rule_syntax import SyntaxFault
from .rule_types import ANY
from .rules import InvalidRule, parse_rules
from .schema import MISSING, go_pattern, parse_schema
from .shapes import shape
from .statuses import Cause, forbidden_field, invalid_value, not_supported, required

Object = dict[str, Any]
TYPES = ("array", "boolean", "integer", "number", "object", "string")
COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
SIMPLE_PATH_TEXT = "must be a simple json path starting with ."


def definition_causes(obj: Object, old: Object | None) -> Iterator[Cause]:
    """What is wrong with a definition."""
    spec, name = obj.get("spec") or {}, obj["metadata"]["name"]
    names = spec.get("names") or {}
    yield from _names_causes(spec, names, name)
    if spec.get("scope") not in {"Namespaced", "Cluster"}:
        yield not_supported("spec.scope", spec.get("scope", ""), ["Cluster", "Namespaced"])
    versions = spec.get("versions") or []
    if len({version.get("name") for version in versions}) < len(versions):
        yield invalid_value("spec.versions", versions, "must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        text = "must have exactly one version marked as storage version"
        yield invalid_value("spec.versions", versions, text)
    for index, version in enumerate(versions):
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if not LABEL.match(str(version.get("name", ""))):
            yield invalid_value(f"spec.versions[{index}].name", version.get("name", ""), LABEL_TEXT)
        alone = len(versions) == 1  # then real servers speak of the version's fields as the definition's
        yield from _presentation_causes(version, "spec" if alone else f"spec.versions[{index}]")
        where = "spec.validation" if alone else f"spec.versions[{index}].schema"
        if schema is None:
            yield required(f"spec.versions[{index}].schema.openAPIV3Schema", "schemas are required")
        else:
            malformed = list(_root_causes(schema, f"{where}.openAPIV3Schema"))
            yield from malformed or cost_causes(schema, f"{where}.openAPIV3Schema", _unchanged(version, old))
    if old is not None:
        for field in ("group", "scope"):
            if spec.get(field) != old["spec"].get(field):
                yield invalid_value(f"spec.{field}", spec.get(field), "field is immutable")
        if names.get("kind") != old["spec"]["names"].get("kind"):
            yield invalid_value("spec.names.kind", names.get("kind"), "field is immutable")


def _unchanged(version: Object, old: Object | None) -> bool:
    """Whether an update leaves the schema of a version as it was."""
    before = () if old is None else old["spec"].get("versions") or ()
    return any(each["name"] == version.get("name") and each.get("schema") == version["schema"] for each in before)


def _presentation_causes(version: Object, path: str) -> Iterator[Cause]:
    """Of printer columns and the paths of the scale subresource."""
    for index, column in enumerate(version.get("additionalPrinterColumns") or ()):
        where = f"{path}.additionalPrinterColumns[{index}]"
        if column.get("type") and column["type"] not in COLUMN_TYPES:
            yield invalid_value(f"{where}.type", column["type"], f"must be one of {','.join(COLUMN_TYPES)}")
        if column.get("jsonPath") and not column["jsonPath"].startswith("."):
            yield invalid_value(f"{where}.JSONPath", column["jsonPath"], SIMPLE_PATH_TEXT)
    scale = (version.get("subresources") or {}).get("scale") or {}
    for name in ("specReplicasPath", "statusReplicasPath", "labelSelectorPath"):
        if scale.get(name) and not scale[name].startswith("."):
            yield invalid_value(f"{path}.subresources.scale.{name}", scale[name], SIMPLE_PATH_TEXT)


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
    malformed_expressions = list(_expression_causes(schema, path))
    yield from malformed_expressions
    if "default" in schema and not malformed_expressions:
        yield from _default_causes(schema, path)
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
    if list_type == "set" and items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        text = "must be atomic as item of a list with x-kubernetes-list-type=set"
        yield invalid_value(f"{path}.items.x-kubernetes-map-type", items.get("x-kubernetes-map-type"), text)
    for key in keys or () if list_type == "map" else ():
        if key not in (items.get("properties") or {}):
            text = "entries must all be names of item properties"
            yield invalid_value(f"{path}.x-kubernetes-list-map-keys", keys, text)
        elif key not in items.get("required", ()) and "default" not in items["properties"][key]:
            text = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            yield required(f"{path}.items.properties[{key}].default", text)


def _expression_causes(schema: Object, path: str) -> Iterator[Cause]:
    for index, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        yield from _rule_causes(rule, f"{path}.x-kubernetes-validations[{index}]")
    if "pattern" in schema:
        try:
            go_pattern(schema["pattern"])
        except re.error as error:
            text = f"must be a valid regular expression, but isn't: error parsing regexp: {error}"
            yield invalid_value(f"{path}.pattern", schema["pattern"], text)


def _rule_causes(rule: Object, path: str) -> Iterator[Cause]:
    try:
        parse_rules([rule])
        for expression in (rule.get("rule"), rule.get("messageExpression")):
            cost(expression or "''", ANY)  # also by the grammar of `rule_syntax`
    except (InvalidRule, SyntaxFault) as error:
        text = str(error) if isinstance(error, InvalidRule) else f"compilation failed: {error}"
        yield invalid_value(f"{path}.rule", rule.get("rule", ""), text)
    message = rule.get("message", "")
    if "\n" in message:
        yield invalid_value(f"{path}.message", message, "must not contain line breaks")
    if "\n" in rule.get("rule", "").strip() and not message:
        yield required(f"{path}.message", "message must be specified if rule contains line breaks")
    if rule.get("reason") and rule["reason"] not in REASONS:
        yield not_supported(f"{path}.reason", rule["reason"], REASONS)


def _default_causes(schema: Object, path: str) -> Iterator[Cause]:
    """A default must be what its own schema allows."""
    for cause in shape(schema["default"], MISSING, parse_schema(schema), ""):
        below = "" if cause.field == "<nil>" else f".{cause.field}" if cause.field else ""
        yield Cause(cause.reason, cause.message, f"{path}.default{below}")


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
