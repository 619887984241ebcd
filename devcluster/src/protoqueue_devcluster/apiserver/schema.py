"""Structural schemas: what every object looks like, built in or custom.

One immutable tree of `Node`s serves pruning, defaulting, validation, merging and field ownership. Built-in types fill
their properties lazily (see `builtin`), custom ones are parsed from `openAPIV3Schema`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from .rules import Rule, parse_rules

MISSING: Any = object()


@dataclass(frozen=True)
class Bounds:
    """Value constraints of one node, as in OpenAPI."""

    enum: tuple[Any, ...] = ()
    pattern: re.Pattern[str] | None = None
    pattern_text: str = ""
    format: str = ""
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: bool = False
    exclusive_maximum: bool = False
    multiple_of: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    min_properties: int | None = None
    max_properties: int | None = None


NO_BOUNDS = Bounds()


@dataclass(frozen=True, eq=False)
class Node:
    """The schema of one value.

    `list_type` is atomic, set or map; `atomic` marks maps owned and replaced as a whole. `bare` marks what exists in
    an empty built-in object (a Go struct rather than a pointer): field ownership does not list it by itself.
    """

    type: str = ""
    description: str = ""
    fields: Mapping[str, "Node"] | None = None
    additional: "Node | None" = None
    items: "Node | None" = None
    required: tuple[str, ...] = ()
    default: Any = MISSING
    nullable: bool = False
    preserve: bool = False
    int_or_string: bool = False
    embedded: bool = False
    list_type: str = "atomic"
    list_keys: tuple[str, ...] = ()
    atomic: bool = False
    bare: bool = False
    bounds: Bounds = NO_BOUNDS
    junctors: tuple[tuple[str, tuple["Node", ...]], ...] = ()
    rules: tuple[Rule, ...] = ()
    costly: frozenset[str] = frozenset()
    """At the root: the expressions of which it is to be counted what running them takes."""
    patch_key: str = ""
    patch_strategy: str = ""

    @property
    def properties(self) -> Mapping[str, "Node"] | None:
        return self.fields

    @property
    def required_names(self) -> tuple[str, ...]:
        return self.required

    def child(self, name: str) -> "Node | None":
        """The schema of a field or map entry; None where anything goes or nothing is known."""
        properties = self.properties
        if properties is not None and name in properties:
            return properties[name]
        return self.additional

    @cached_property
    def has_rules(self) -> bool:
        """Whether this node or one below carries CEL rules."""
        below = [*(self.properties or {}).values(), self.additional, self.items]
        return bool(self.rules) or any(node.has_rules for node in below if node is not None)

    @cached_property
    def has_defaults(self) -> bool:
        """Whether this node or one below carries a default."""
        below = [*(self.properties or {}).values(), self.additional, self.items]
        return self.default is not MISSING or any(node.has_defaults for node in below if node is not None)


ANYTHING = Node(preserve=True)


NOT_IN_RE2 = re.compile(r"(?<!\\)\(\?(?:<?[=!]|>|\()")
"""Looking ahead and behind, atomic groups, conditions."""


def go_pattern(pattern: str) -> re.Pattern[str]:
    r"""Compile an RE2 pattern: its `$` and `\\z` mean the very end, and flags may follow a `^`.

    Raises re.error, also for what Python knows and RE2 does not.
    """
    if foreign := NOT_IN_RE2.search(pattern):
        raise re.error(f"invalid or unsupported Perl syntax: `{foreign[0]}`", pattern, foreign.start())
    text = re.sub(r"\A\^(\(\?[is]+\))", r"\1^", pattern.replace(r"\z", r"\Z"))
    if text.endswith("$") and not text.endswith(r"\$"):
        text = text[:-1] + r"\Z"
    return re.compile(text)


def _bounds(raw: Mapping[str, Any]) -> Bounds:
    pattern = raw.get("pattern", "")
    return Bounds(
        enum=tuple(raw.get("enum", ())),
        pattern=go_pattern(pattern) if pattern else None,
        pattern_text=pattern,
        format=raw.get("format", ""),
        minimum=raw.get("minimum"),
        maximum=raw.get("maximum"),
        exclusive_minimum=bool(raw.get("exclusiveMinimum")),
        exclusive_maximum=bool(raw.get("exclusiveMaximum")),
        multiple_of=raw.get("multipleOf"),
        min_length=raw.get("minLength"),
        max_length=raw.get("maxLength"),
        min_items=raw.get("minItems"),
        max_items=raw.get("maxItems"),
        min_properties=raw.get("minProperties"),
        max_properties=raw.get("maxProperties"),
    )


def _junctors(raw: Mapping[str, Any]) -> tuple[tuple[str, tuple[Node, ...]], ...]:
    found = [(word, tuple(map(parse_schema, raw[word]))) for word in ("allOf", "anyOf", "oneOf") if raw.get(word)]
    if raw.get("not"):
        found.append(("not", (parse_schema(raw["not"]),)))
    return tuple(found)


def parse_schema(raw: Mapping[str, Any], metadata: Node | None = None) -> Node:
    """The node of an `openAPIV3Schema`; `metadata` replaces what the schema says about a resource's metadata.

    Raises InvalidRule for CEL that does not parse and re.error for a bad pattern: `crds` refuses both beforehand.
    """
    properties = {name: parse_schema(each) for name, each in raw.get("properties", {}).items()}
    embedded = bool(raw.get("x-kubernetes-embedded-resource"))
    if metadata is not None or embedded:
        text = Node(type="string")
        properties = {"apiVersion": text, "kind": text, **properties}
        properties["metadata"] = metadata or Node(type="object", preserve=True)
    additional = raw.get("additionalProperties")
    int_or_string = bool(raw.get("x-kubernetes-int-or-string"))
    return Node(
        type=raw.get("type", ""),
        description=raw.get("description", ""),
        fields=properties or None,
        additional=parse_schema(additional) if isinstance(additional, dict) else ANYTHING if additional else None,
        items=parse_schema(raw["items"]) if isinstance(raw.get("items"), dict) else None,
        required=tuple(raw.get("required", ())),
        default=raw.get("default", MISSING),
        nullable=bool(raw.get("nullable")),
        preserve=bool(raw.get("x-kubernetes-preserve-unknown-fields")),
        int_or_string=int_or_string,
        embedded=embedded,
        list_type=raw.get("x-kubernetes-list-type", "atomic"),
        list_keys=tuple(raw.get("x-kubernetes-list-map-keys", ())),
        atomic=raw.get("x-kubernetes-map-type") == "atomic",
        bare=metadata is not None,
        bounds=_bounds(raw),
        junctors=() if int_or_string else _junctors(raw),
        rules=parse_rules(raw.get("x-kubernetes-validations", ())),
    )


@dataclass
class Unknown:
    """Paths of the fields that pruning dropped, in the order met."""

    paths: list[str] = field(default_factory=list)


def prune(value: Any, node: Node | None, unknown: Unknown | None = None, path: str = "") -> Any:
    """`value` without the fields the schema does not know; the same object where nothing had to go."""
    if node is None or value is None:
        return value
    if isinstance(value, dict):
        return _prune_map(value, node, unknown, path)
    if isinstance(value, list) and node.items is not None:
        pruned = [prune(each, node.items, unknown, f"{path}[{index}]") for index, each in enumerate(value)]
        return pruned if any(new is not old for new, old in zip(pruned, value, strict=True)) else value
    return value


def _prune_map(value: dict[str, Any], node: Node, unknown: Unknown | None, path: str) -> dict[str, Any]:
    properties = node.properties
    if properties is None and node.additional is None:
        # Of an object where a scalar belongs clients are told its type; what was stored as such is emptied.
        if node.preserve or not node.type or (node.type != "object" and unknown is not None):
            return value
        properties = {}
    result = value
    for name, old in value.items():
        below = f"{path}.{name}" if path else name
        child = (properties or {}).get(name) or node.additional
        if child is None:
            if node.preserve:
                continue
            if unknown is not None:
                unknown.paths.append(below)
            result = dict(value) if result is value else result
            del result[name]
            continue
        new = prune(old, child, unknown, below)
        if new is not old:
            result = dict(value) if result is value else result
            result[name] = new
    return result


def fill_defaults(value: Any, node: Node | None) -> Any:
    """`value` with the schema's defaults; the same object where nothing was missing.

    A null where the schema has a default and allows no null counts as missing, as the API conventions have it.
    """
    if node is None or not node.has_defaults:
        return value
    if isinstance(value, list) and node.items is not None:
        filled = [fill_defaults(each, node.items) for each in value]
        return filled if any(new is not old for new, old in zip(filled, value, strict=True)) else value
    if not isinstance(value, dict):
        return value
    result = value
    for name, child in (node.properties or {}).items():
        old = value.get(name, MISSING)
        if child.default is not MISSING and (old is MISSING or (old is None and not child.nullable)):
            new = fill_defaults(child.default, child)
        elif old is MISSING:
            continue
        else:
            new = fill_defaults(old, child)
        if new is not old:
            result = dict(value) if result is value else result
            result[name] = new
    if node.additional is not None and node.additional.has_defaults:
        known = node.properties or {}
        result = {
            name: each if name in known else fill_defaults(each, node.additional) for name, each in result.items()
        }
    return result
