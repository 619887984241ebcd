"""Reference pages of the resources, from their CustomResourceDefinitions."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from protoqueue.protocol.durations import PATTERN as DURATION_PATTERN
from protoqueue_operator.api.v1alpha1.fields import QUANTITY_PATTERN

Schema = Mapping[str, Any]

_PATTERNS = {DURATION_PATTERN: "duration", QUANTITY_PATTERN: "size"}
_POD_TEMPLATE = ".worker.template"
"""What is in it Kubernetes documents."""


def resource_page(definition: Schema) -> str:
    """The page of one definition, as Markdown."""
    names, version = definition["spec"]["names"], definition["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    short = ", ".join(f"`{name}`" for name in names.get("shortNames", ()))
    lines = [
        f"# {names['kind']}",
        "",
        schema["description"],
        "",
        f"`apiVersion: {definition['spec']['group']}/{version['name']}`, `kind: {names['kind']}`, "
        f"{definition['spec']['scope'].lower()}; `kubectl get {names['plural']}`, short {short}.",
        "",
        *_rules(schema.get("x-kubernetes-validations", ())),
    ]
    for part in ("spec", "status"):
        lines += ["", *_section(schema["properties"][part], part)]
    lines += ["", "## What `kubectl get` shows", "", *_columns(version.get("additionalPrinterColumns", ()))]
    return "\n".join(lines) + "\n"


def field_paths(schema: Schema, path: str) -> Iterator[str]:
    """The path of every field below `schema`; `[]` stands for the items of a list."""
    if path.endswith(_POD_TEMPLATE):
        return
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}"
        yield from field_paths(_inner(child), _inner_path(child, f"{path}.{name}"))


def type_of(schema: Schema) -> str:
    """A field's type and bounds, as a reader thinks of them."""
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    kind = _PATTERNS.get(schema.get("pattern", "")) or schema["type"]
    if kind == "array":
        return f"list of {type_of(schema['items'])}"
    return " ".join(filter(None, (kind, _bounds(schema))))


def _bounds(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"≥ {low}" if low is not None else f"≤ {high}" if high is not None else ""


def _section(schema: Schema, path: str) -> Iterator[str]:
    """The table of an object's fields, then a section for each field that is an object itself."""
    yield f"{'#' * min(4, 2 + path.count('.'))} {path}"
    yield ""
    if "." not in path:
        yield from (schema.get("description", ""), "")
    yield "| field | type | default | |"
    yield "| --- | --- | --- | --- |"
    required = schema.get("required", ())
    for name, child in schema["properties"].items():
        below = _inner_path(child, f"{path}.{name}")
        title = f"[`{name}`](#{_anchor(below)})" if _has_fields(child, below) else f"`{name}`"
        default = "**required**" if name in required else _default(child)
        yield f"| {title} | {type_of(child)} | {default} | {_cell(child.get('description', ''))} |"
    yield ""
    yield from _rules(_rules_of(schema, path))
    for name, child in schema["properties"].items():
        below = _inner_path(child, f"{path}.{name}")
        if _has_fields(child, below):
            yield ""
            yield from _section(_inner(child), below)


def _has_fields(schema: Schema, path: str) -> bool:
    return "properties" in _inner(schema) and not path.endswith(_POD_TEMPLATE)


def _inner(schema: Schema) -> Schema:
    inner: Schema = schema["items"] if schema.get("type") == "array" else schema
    return inner


def _inner_path(schema: Schema, path: str) -> str:
    return f"{path}[]" if schema.get("type") == "array" else path


def _default(schema: Schema) -> str:
    if "default" not in schema or schema["default"] in ({}, []):
        return ""
    value = schema["default"]
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _rules_of(schema: Schema, path: str) -> list[Schema]:
    """The rules of an object and of its fields; those of objects below stand in their own section."""
    children = [child for name, child in schema["properties"].items() if not _has_fields(child, f"{path}.{name}")]
    return [rule for node in (schema, *children) for rule in node.get("x-kubernetes-validations", ())]


def _rules(rules: Iterable[Schema]) -> Iterator[str]:
    """What the API server refuses, in the words its users are told."""
    lines = [f"- {_cell(rule['message'])}" for rule in rules]
    if lines:
        yield from ("The API server refuses what breaks one of these rules:", "", *lines)


def _columns(columns: Any) -> Iterator[str]:
    yield "| column | from | |"
    yield "| --- | --- | --- |"
    for column in columns:
        path = column["jsonPath"].replace("|", "\\|")
        yield f"| {column['name'].upper()} | `{path}` | {column.get('description', '')} |"


def _anchor(path: str) -> str:
    """As the `toc` extension of Markdown makes it from a heading."""
    return "".join(letter for letter in path.lower() if letter.isalnum() or letter in "-_")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
