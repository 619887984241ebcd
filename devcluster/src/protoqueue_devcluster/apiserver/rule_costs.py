"""Rules that may be too much work, estimated from the schema before any value is seen, as real servers estimate them.

What running them takes is counted by `run_costs`, where the estimate is over a limit for that.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .expression_costs import UNKNOWN, cost
from .rule_types import ANY, MAX_REQUEST, declared
from .run_costs import REQUEST_LIMIT, RUN_LIMIT
from .statuses import Cause, forbidden_field

EXPRESSION_LIMIT = 10_000_000
SCHEMA_LIMIT = 100_000_000


@dataclass(frozen=True)
class Estimate:
    """What one expression of a schema costs at most, for one value and for all; `what` is rule or messageExpression."""

    path: str
    what: str
    source: str
    once: int
    cost: int


def cost_causes(schema: Mapping[str, Any], path: str, unchanged: bool) -> Iterator[Cause]:
    """The rules of a version that are too much work. An `unchanged` schema may keep the rules it was taken with."""
    found = list(estimates(schema, path))
    for each in found:
        if each.cost > EXPRESSION_LIMIT and not unchanged:
            yield forbidden_field(each.path, _excess(f"estimated {each.what} cost", each.cost, EXPRESSION_LIMIT))
    total = sum(each.cost for each in found)
    if total > SCHEMA_LIMIT:
        dear = sorted((each for each in found if each.cost >= SCHEMA_LIMIT // 100), key=lambda each: -each.cost)
        for each in dear[:4]:
            text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
            yield forbidden_field(each.path, text)
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        yield forbidden_field(path, _excess(what, total, SCHEMA_LIMIT))


def _excess(what: str, cost: int, limit: int) -> str:
    factor = cost / limit
    times = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return (
        f"{what} exceeds budget by factor of {times} (try simplifying the rule, or adding maxItems, maxProperties, "
        "and maxLength where arrays, maps, and strings are declared)"
    )


def costly(schema: Mapping[str, Any]) -> frozenset[str]:
    """The expressions of a resource's schema by which an object may come over a limit of what running them costs."""
    found = list(estimates(schema, ""))
    together = sum(each.cost for each in found) > REQUEST_LIMIT
    return frozenset(each.source for each in found if together or each.once > RUN_LIMIT)


def estimates(schema: Mapping[str, Any], path: str) -> Iterator[Estimate]:
    """What each rule of a resource's schema costs at most, for all the values that one object can have there.

    Raises SyntaxFault.
    """
    yield from _estimates(schema, path, 1, resource=True)


def _estimates(schema: Mapping[str, Any], path: str, count: int | None, resource: bool = False) -> Iterator[Estimate]:
    """`count` is how often the schema can occur in an object; None where a list or map above is not bounded."""
    rules = schema.get("x-kubernetes-validations") or ()
    if rules:
        own = declared(schema, resource) or ANY
        times = MAX_REQUEST // (own.least + 1) if count is None else count
        for index, rule in enumerate(rules):
            for what, often in (("rule", times), ("messageExpression", 1)):
                if rule.get(what):
                    found = cost(rule[what], own, bool(rule.get("optionalOldSelf")))
                    where = f"{path}.x-kubernetes-validations[{index}].{what}"
                    yield Estimate(where, what, rule[what], found, min(UNKNOWN, often * found))
    below = _count(schema, count)
    for name, each in (schema.get("properties") or {}).items():
        yield from _estimates(each, f"{path}.properties[{name}]", below)
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), Mapping):
            yield from _estimates(schema[word], f"{path}.{word}", below)


def _count(schema: Mapping[str, Any], count: int | None) -> int | None:
    """How often what is below a schema can occur that occurs `count` times."""
    if schema.get("type") == "array":
        word = "maxItems"
    elif schema.get("type") == "object" and schema.get("additionalProperties") is not None:
        word = "maxProperties"
    else:
        return count
    most = schema.get(word)
    return None if most is None or count is None else count * max(0, int(most))
