"""Checking objects against their schema and its rules, with the error texts of a real API server.

What an update leaves equal is not checked again (ratcheting): it was valid when written. Transition rules always run.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .rules import Rule
from .run_costs import REQUEST_LIMIT, RUN_LIMIT, TooCostly, run_cost
from .schema import MISSING, Node
from .shapes import paired, shape
from .statuses import Cause, duplicate, invalid_value

BLOCKING = frozenset(
    {
        "FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)  # fmt: skip
"""After such errors rules are not evaluated: they could not rely on what the schema promises."""

UNCHECKED = Cause(
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; "
    "correct the existing errors to complete validation",
    "<nil>",
)
DEEPEST = 100
"""Levels of a value that rules see; a schema describes fewer."""
NO_MORE = "no further validation rules will be run"


@dataclass
class Budget:
    """What the rules of one object may still cost. Only `counted` expressions are."""

    counted: frozenset[str]
    left: int = REQUEST_LIMIT
    is_over: bool = False

    def spend(self, what: str, source: str, shown: str, variables: dict[str, Any]) -> str | None:
        """Count what running an expression takes. Returns why the budget is over then, else None.

        `what` is rule or messageExpression, and `shown` what a cause says of it.
        """
        if source not in self.counted:
            return None
        try:
            cost = run_cost(source, variables)
        except TooCostly:
            cost = RUN_LIMIT + 1
        self.is_over = cost > min(self.left, RUN_LIMIT)
        if cost > self.left:
            failed = "validation" if what == "rule" else "messageExpression evaluation"
            return f"{failed} failed due to running out of cost budget, {NO_MORE}"
        if self.is_over:
            cancelled = "'operation cancelled: actual cost limit exceeded': " if what == "rule" else ""
            return f"{cancelled}{NO_MORE} due to call cost exceeds limit for {what}: {shown}"
        self.left -= cost
        return None


def validate(value: Any, old: Any, node: Node) -> list[Cause]:
    """Everything wrong with `value`; `old` is what it replaces, or MISSING."""
    causes = list(shape(value, old, node, ""))
    if node.has_rules and any(cause.reason in BLOCKING for cause in causes):
        return [*causes, UNCHECKED]
    budget = Budget(node.costly)
    return [*causes, *_rules(_shallow(value), _shallow(old), node, "", budget)] if node.has_rules else causes


def _shallow(value: Any) -> Any:
    """As much of it as rules can speak of: handing CEL what is nested in thousands of levels would end the process."""
    level = [value]
    for _ in range(DEEPEST):
        level = [each for each in level if isinstance(each, dict | list)]
        if not level:
            return value
        level = [child for each in level for child in (each.values() if isinstance(each, dict) else each)]
    return _cut(value, DEEPEST)


def _cut(value: Any, levels: int) -> Any:
    if isinstance(value, dict):
        return {name: _cut(each, levels - 1) for name, each in value.items()} if levels else {}
    if isinstance(value, list):
        return [_cut(each, levels - 1) for each in value] if levels else []
    return value


def _rules(value: Any, old: Any, node: Node, path: str, budget: Budget) -> Iterator[Cause]:
    if not node.has_rules or value is None:
        return
    whole = not path or node.embedded
    for rule in node.rules:
        if not rule.applies(old is not MISSING):
            continue
        seen, was = rule.view(value), rule.view(old)
        if whole:
            seen, was = _seen_at_root(seen), _seen_at_root(was)
        variables = rule.variables(seen, was)
        if over := budget.spend("rule", rule.source, rule.message or rule.source, variables):
            yield _exhausted(node, path, over)
            return
        if old is not MISSING and seen == was and not rule.transition:
            continue
        message = rule.failure(seen, was, old is not MISSING)
        if message is None:
            continue
        if rule.message_program is not None and (
            over := budget.spend(
                "messageExpression", rule.message_expression, json.dumps(rule.message_expression), variables
            )
        ):
            yield _exhausted(node, f"{path}{rule.field_path}".lstrip("."), over)
            return
        yield _refusal(rule, value, path, message)
    for below, child, each, before in _children(value, old, node, path):
        yield from _rules(each, before, child, below, budget)
        if budget.is_over:
            return


def _children(value: Any, old: Any, node: Node, path: str) -> Iterator[tuple[str, Node, Any, Any]]:
    """What has rules below a value: its path, its schema, itself and what it replaces."""
    if isinstance(value, dict):
        was = old if isinstance(old, dict) else {}
        for name in sorted(value):
            child = node.child(name)
            if child is not None and child.has_rules:
                yield f"{path}.{name}" if path else name, child, value[name], was.get(name, MISSING)
    elif isinstance(value, list) and node.items is not None and node.items.has_rules:
        for index, (each, before) in enumerate(paired(value, old, node)):
            yield f"{path}[{index}]", node.items, each, before


def _exhausted(node: Node, path: str, why: str) -> Cause:
    return Cause("FieldValueInvalid", f'Invalid value: "{node.type}": {why}', path or "<nil>")


def _seen_at_root(value: Any) -> Any:
    """A whole resource as its rules may see it: of the metadata only the names."""
    if not isinstance(value, dict) or not isinstance(value.get("metadata"), dict):
        return value
    names = {key: text for key, text in value["metadata"].items() if key in {"name", "generateName"}}
    return {**value, "metadata": names}


def _refusal(rule: Rule, value: Any, path: str, message: str) -> Cause:
    field = f"{path}{rule.field_path}".lstrip(".") or "<nil>"
    if rule.reason == "FieldValueForbidden":
        return Cause(rule.reason, f"Forbidden: {message}", field)
    if rule.reason == "FieldValueRequired":
        return Cause(rule.reason, f"Required value: {message}", field)
    if isinstance(value, (dict, list)):
        return Cause(rule.reason, f"Invalid value: {message}", field)
    if rule.reason == "FieldValueDuplicate":
        return duplicate(field, value)
    return invalid_value(field, value, message)
