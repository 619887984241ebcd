"""How much work an expression may be: the worst case, by the sizes that the schema of its values allows.

A unit is about one operation. What a function, an operator and a loop cost is as in Kubernetes 1.36 and the CEL library
it uses.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .rule_syntax import Expr, SyntaxFault, parse
from .rule_types import ANY, KEY, Type

UNKNOWN = 2**64 - 1
TRAVERSAL, PATTERN = 0.1, 0.25
"""Per character of a text that is walked through, and of a regular expression."""
LIST, MAP, STRUCT = 10, 30, 40
"""For making one."""
BOOL, INT, DOUBLE, STRING = Type("bool"), Type("int"), Type("double"), Type("string")
SCALARS = frozenset({"bool", "int", "uint", "double", "duration", "timestamp"})
TEXTS = frozenset({"string", "bytes", "dyn"})
RESULTS: Mapping[str, Type] = {
    **dict.fromkeys(("asApproximateFloat", "double"), DOUBLE),
    **dict.fromkeys(
        (
            "bool", "contains", "endsWith", "hasValue", "isGreaterThan", "isInteger", "isLessThan", "isQuantity",
            "isSorted", "matches", "startsWith",
        ), BOOL,
    ),
    **dict.fromkeys(
        ("asInteger", "compareTo", "indexOf", "int", "lastIndexOf", "sign", "size", "getFullYear", "getMonth"), INT
    ),
    **dict.fromkeys(("getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getHours", "getMinutes"), INT),
    **dict.fromkeys(("getSeconds", "getMilliseconds"), INT),
    **dict.fromkeys(("charAt", "find", "join", "lowerAscii", "replace", "string"), STRING),
    **dict.fromkeys(("substring", "trim", "upperAscii"), STRING),
    **dict.fromkeys(("findAll", "split"), Type("list", element=STRING)),
    "bytes": Type("bytes"),
    "duration": Type("duration"),
    "timestamp": Type("timestamp"),
    "uint": Type("uint"),
    "quantity": Type("quantity"),
    "type": Type("type"),
}  # fmt: skip
LOOPS = frozenset({"all", "exists", "exists_one", "existsOne", "filter", "map"})


@dataclass(frozen=True)
class Value:
    """What is known of a part of an expression.

    `path` leads through the schema to its values, with the variable first. `size` is the largest size, None where
    nothing says it. `holds` are the largest sizes of the keys and values of a list or map that the expression made.
    """

    cost: int
    type: Type = ANY
    path: tuple[str, ...] = ()
    size: int | None = None
    holds: tuple[int, int] | None = None

    @property
    def largest(self) -> int:
        return UNKNOWN if self.size is None else self.size


def cost(source: str, own: Type, optional_old: bool = False) -> int:
    """What an expression about a value of type `own` costs at most. Raises SyntaxFault."""
    old = Type("optional", own.most, element=own) if optional_old else own
    scope = {"self": Value(1, own, ("self",)), "oldSelf": Value(1, old, ("oldSelf",))}
    try:
        return min(UNKNOWN, Estimator(own).value(parse(source), scope).cost)
    except RecursionError:
        raise SyntaxFault("ERROR: <input>:-1:0: expression recursion limit exceeded") from None


Scope = Mapping[str, Value]


def per_character(size: int, factor: float = TRAVERSAL) -> int:
    return math.ceil(size * factor)


class Estimator:
    """Of expressions about one schema, whose type is `own`."""

    def __init__(self, own: Type) -> None:
        self.own = own

    def value(self, expr: Expr, scope: Scope) -> Value:
        if expr.kind == "literal":
            return Value(0, Type(expr.name), size=expr.size)
        if expr.kind == "name":
            known = scope.get(expr.name)
            return self.sized(known or Value(1))
        if expr.kind in {"has", "select"}:
            return self.selected(expr, scope)
        if expr.kind == "call":
            return self.loop(expr, scope) if self.is_loop(expr) else self.call(expr, scope)
        if expr.kind == "operator":
            return self.operation(expr, [self.value(each, scope) for each in expr.args])
        return self.made(expr, [self.value(each, scope) for each in expr.args])

    def sized(self, value: Value) -> Value:
        """With the size that the schema gives, or else the type."""
        found = self.own.at(value.path[1:]) if value.path else None
        size = found.most if found is not None else 1 if value.type.kind in SCALARS else value.size
        return Value(value.cost, value.type, value.path, size, value.holds)

    def selected(self, expr: Expr, scope: Scope) -> Value:
        assert expr.target is not None
        operand = self.value(expr.target, scope)
        if expr.kind == "has":
            return Value(operand.cost, BOOL, size=1)
        kind = operand.type.kind
        own = operand.type.element if kind == "map" else operand.type.fields.get(expr.name)
        more = 1 if kind in {"map", "object"} else 0
        return self.sized(Value(operand.cost + more, own or ANY, (*operand.path, expr.name)))

    @staticmethod
    def made(expr: Expr, parts: list[Value]) -> Value:
        total = sum(each.cost for each in parts)
        if expr.kind == "list":
            own = Type("list", element=parts[0].type if parts else ANY)
            largest = max((each.largest for each in parts), default=0)
            return Value(total + LIST, own, size=len(parts), holds=(1, largest))
        if expr.kind == "struct":
            return Value(total + STRUCT)
        keys, values = parts[::2], parts[1::2]
        holds = (max((each.largest for each in keys), default=0), max((each.largest for each in values), default=0))
        own = Type("map", element=values[0].type if values else ANY)
        return Value(total + MAP, own, size=len(keys), holds=holds)

    @staticmethod
    def is_loop(expr: Expr) -> bool:
        named = len(expr.args) > 1 and expr.args[0].kind == "name"
        return expr.target is not None and expr.name in LOOPS and named

    def loop(self, expr: Expr, scope: Scope) -> Value:
        """A macro over a list or the keys of a map: each round reads and writes what the macro gathers."""
        assert expr.target is not None
        over = self.value(expr.target, scope)
        is_list = over.type.kind == "list"
        held = None if over.holds is None else over.holds[1 if is_list else 0]
        own = over.type.element if is_list else KEY if over.type.kind == "map" else ANY
        item = Value(1, own or ANY, (*over.path, "@items" if is_list else "@keys"), held)
        parts = [self.value(each, {**scope, expr.args[0].name: item}) for each in expr.args[1:]]
        steps = sum(each.cost for each in parts)
        if expr.name in {"filter", "map"}:
            kept = self.sized(item) if expr.name == "filter" else parts[-1]
            per_round = steps + LIST + (3 if expr.name == "filter" else 2)
            total = over.cost + LIST + 1 + over.largest * per_round
            return Value(total, Type("list", element=kept.type), size=over.largest, holds=(1, kept.largest))
        per_round, after = {"all": (3, 1), "exists": (4, 1)}.get(expr.name, (2, 2))
        return Value(over.cost + after + over.largest * (steps + per_round), BOOL, size=1)

    def call(self, expr: Expr, scope: Scope) -> Value:
        args = [self.value(each, scope) for each in expr.args]
        namespace = expr.target is not None and expr.target.kind == "name" and expr.target.name not in scope
        target = None if expr.target is None or namespace else self.value(expr.target, scope)
        parts = args if target is None else [target, *args]
        spent = sum(each.cost for each in parts)
        if expr.name == "dyn" and args:
            return Value(spent + 1, ANY, size=args[0].size, holds=args[0].holds)
        work = CALLS[expr.name](self, parts) if expr.name in CALLS and parts else 1
        size = RESULT_SIZES[expr.name](parts) if expr.name in RESULT_SIZES and parts else None
        own = RESULTS.get(expr.name) or (target.type.element if target is not None else None)
        return self.sized(Value(spent + work, own or ANY, size=size))

    def operation(self, expr: Expr, args: list[Value]) -> Value:
        spent = sum(each.cost for each in args)
        special = {"[]": self.index, "?:": self.condition, "+": self.sum}.get(expr.name)
        if special is not None:
            return special(args, spent)
        if expr.name in COMPARISONS:
            return Value(spent + COMPARISONS[expr.name](self, args), BOOL, size=1)
        if expr.name in {"&&", "||"}:
            return Value(spent, BOOL, size=1)
        return Value(spent + 1, BOOL if expr.name == "!_" else args[0].type, size=1)

    def index(self, args: list[Value], spent: int) -> Value:
        within = args[0]
        path = (*within.path, "@items" if within.type.kind == "list" else "@values")
        if within.type.kind not in {"list", "map"}:
            return Value(spent + 1)
        held = None if within.holds is None else within.holds[1]
        found = self.sized(Value(spent + 1, within.type.element or ANY, path))
        return Value(found.cost, found.type, path, found.size if held is None else held)

    @staticmethod
    def condition(args: list[Value], _spent: int) -> Value:
        condition, one, other = args
        holds = None
        if one.holds is not None and other.holds is not None:
            holds = (max(one.holds[0], other.holds[0]), max(one.holds[1], other.holds[1]))
        total = condition.cost + max(one.cost, other.cost)
        return Value(total, one.type, size=max(one.largest, other.largest), holds=holds)

    @staticmethod
    def sum(args: list[Value], spent: int) -> Value:
        """Numbers and times add in one step, texts are copied, lists are chained."""
        left, right = args
        kinds = {left.type.kind, right.type.kind}
        size = left.largest + right.largest
        holds = None
        if left.holds is not None and right.holds is not None:
            holds = (1, max(left.holds[1], right.holds[1]))
        own = right.type if left.type.kind == "dyn" else left.type
        if kinds <= TEXTS:
            return Value(spent + per_character(size), own, size=size)
        if "list" in kinds:
            return Value(spent + 1, own, size=size, holds=holds)
        return Value(spent + 1, own, size=1)

    def element_size(self, value: Value) -> int | None:
        """The largest size of a list's texts; None where it holds none."""
        if value.type.kind != "list" or value.type.element is None or value.type.element.kind not in TEXTS - {"dyn"}:
            return None
        found = self.own.at((*value.path, "@items")[1:]) if value.path else None
        return UNKNOWN if found is None else found.most


def _traversed(place: int, times: int = 1) -> Callable[[Estimator, list[Value]], int]:
    """One walk through an argument, or more."""
    return lambda _estimator, parts: per_character(parts[min(place, len(parts) - 1)].largest, times * TRAVERSAL)


def _equals(_estimator: Estimator, parts: list[Value]) -> int:
    return per_character(min(each.largest for each in parts))


def _ordered(_estimator: Estimator, parts: list[Value]) -> int:
    texts = all(each.type.kind in TEXTS for each in parts)
    return per_character(min(each.largest for each in parts)) if texts else 1


def _contained(_estimator: Estimator, parts: list[Value]) -> int:
    return 1 if parts[1].type.kind == "map" else parts[1].largest


def _searched(_estimator: Estimator, parts: list[Value]) -> int:
    return per_character(parts[0].largest) * per_character(parts[-1].largest)


def _matched(_estimator: Estimator, parts: list[Value]) -> int:
    return per_character(parts[0].largest + 1) * per_character(parts[-1].largest, PATTERN)


def _each_item(estimator: Estimator, parts: list[Value]) -> int:
    """Comparing or adding up all of a list; of a text, looking through it."""
    within = parts[0]
    if within.type.kind != "list":
        return per_character(within.largest)
    text = estimator.element_size(within)
    return within.largest * (1 + (0 if text is None else per_character(text)))


def _joined_size(parts: list[Value], text: int) -> int:
    return parts[0].largest * text + (parts[1].largest * max(0, parts[0].largest - 1) if len(parts) > 1 else 0)


def _joined(estimator: Estimator, parts: list[Value]) -> int:
    return per_character(_joined_size(parts, estimator.element_size(parts[0]) or 0))


def _converted(_estimator: Estimator, parts: list[Value]) -> int:
    return per_character(parts[0].largest) if parts[0].type.kind in {"bytes", "dyn"} else 1


def _replaced_size(parts: list[Value]) -> int:
    """The largest size after a replacement. A text to replace that may be empty matches between all characters."""
    within, old, new = parts[0].largest, parts[1], parts[2].largest
    fewest = old.largest if old.cost == 0 else 0
    if fewest == 0:
        return (within + 1) * new + within
    return within if new <= fewest else math.ceil(within / fewest) * new


COMPARISONS: Mapping[str, Callable[[Estimator, list[Value]], int]] = {
    **dict.fromkeys(("==", "!="), _equals),
    **dict.fromkeys(("<", "<=", ">", ">="), _ordered),
    "in": _contained,
}
CALLS: Mapping[str, Callable[[Estimator, list[Value]], int]] = {
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), _each_item),
    **dict.fromkeys(("find", "findAll", "matches"), _matched),
    **dict.fromkeys(("lowerAscii", "upperAscii", "substring", "trim", "quantity", "isQuantity"), _traversed(0)),
    **dict.fromkeys(("replace", "split"), _traversed(0, 2)),
    **dict.fromkeys(("startsWith", "endsWith"), _traversed(1)),
    "bytes": _traversed(0),
    "string": _converted,
    "contains": _searched,
    "join": _joined,
}
RESULT_SIZES: Mapping[str, Callable[[list[Value]], int]] = {
    **dict.fromkeys(
        ("lowerAscii", "upperAscii", "substring", "trim", "find", "findAll", "split"), lambda parts: parts[0].largest
    ),
    "bytes": lambda parts: 4 * parts[0].largest,
    "replace": lambda parts: _replaced_size(parts) if len(parts) > 2 else UNKNOWN,
}
