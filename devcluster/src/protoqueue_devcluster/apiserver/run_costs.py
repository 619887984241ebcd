"""How much work running an expression is, as the CEL library counts it for a real API server.

The evaluator does not say what a run took, so where the rules of a schema may take too much they are walked here as
well, only to count: a million steps take about a second. An expression with what is not known here (times, durations,
optionals, messages) is not counted.
"""

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from .expression_costs import LIST, LOOPS, MAP, PATTERN, per_character
from .rule_syntax import Expr, SyntaxFault, parse
from .rules import FUNCTIONS

RUN_LIMIT = 1_000_000
"""Of one rule and one value."""
REQUEST_LIMIT = 10_000_000
"""Of all rules of one object."""
FAULTS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, re.error)
"""What a run ends with where the expression does not fit its value."""

Scope = Mapping[str, Any]


class TooCostly(Exception):
    """The run was ended at its limit."""


class Uncounted(Exception):
    """The expression has what is not known here."""


def run_cost(source: str, variables: Scope, limit: int = RUN_LIMIT) -> int:
    """What a run costs, also one that ends with an error; 0 where that is not known. Raises TooCostly."""
    run = _Run(limit)
    try:
        run.value(_parsed(source), variables)
    except FAULTS:
        pass
    except (Uncounted, SyntaxFault, RecursionError):
        return 0
    return run.cost


@lru_cache(maxsize=256)
def _parsed(source: str) -> Expr:
    return parse(source)


class _Run:
    def __init__(self, limit: int) -> None:
        self.limit, self.cost = limit, 0

    def spend(self, cost: int) -> None:
        self.cost += cost
        if self.cost > self.limit:
            raise TooCostly

    def value(self, expr: Expr, scope: Scope) -> Any:
        if expr.kind == "literal":
            return expr.value
        if _is_attribute(expr):
            return self.attribute(expr, scope)
        if expr.kind == "has":
            assert expr.target is not None
            return bool(expr.name in self.value(expr.target, scope))
        if expr.kind == "call":
            return self.loop(expr, scope) if _is_loop(expr) else self.call(expr, scope)
        if expr.kind == "operator":
            return self.operation(expr, scope)
        if expr.kind == "struct":
            raise Uncounted
        parts = [self.value(each, scope) for each in expr.args]
        self.spend(LIST if expr.kind == "list" else MAP)
        return parts if expr.kind == "list" else dict(zip(parts[::2], parts[1::2], strict=True))

    def attribute(self, expr: Expr, scope: Scope, cost: int = 1) -> Any:
        """A variable, or a part of a value: one step for it, and one for each part on the way."""
        if expr.kind == "name":
            self.spend(cost)
            if expr.name not in scope:
                raise Uncounted
            return scope[expr.name]
        base = expr.target if expr.kind == "select" else expr.args[0]
        assert base is not None
        if _is_attribute(base):
            within = self.attribute(base, scope, cost)
        else:
            within = self.value(base, scope)
            self.spend(0 if base.name == "?:" else cost)
        key = expr.name if expr.kind == "select" else self.within(expr.args[1], scope)
        self.spend(1)
        if isinstance(within, list) and not (isinstance(key, int) and 0 <= key < len(within)):
            raise IndexError(key)
        return within[key]

    def within(self, expr: Expr, scope: Scope) -> Any:
        """As a part of another: a variable does not count as a step."""
        return self.attribute(expr, scope, 0) if _is_attribute(expr) else self.value(expr, scope)

    def operation(self, expr: Expr, scope: Scope) -> Any:
        if expr.name in {"&&", "||"}:
            return self.junction(expr.name == "||", expr.args, scope)
        if expr.name == "?:":
            return self.within(expr.args[1] if self.value(expr.args[0], scope) else expr.args[2], scope)
        parts = [self.value(each, scope) for each in expr.args]
        self.spend(_operator_cost(expr.name, parts))
        return OPERATORS[expr.name](*parts)

    def junction(self, decides: bool, terms: Iterable[Expr], scope: Scope) -> bool:
        """The first term that decides ends it, and makes up for one that failed."""
        failure: Exception | None = None
        for term in terms:
            try:
                if bool(self.value(term, scope)) == decides:
                    return decides
            except FAULTS as error:
                failure = error
        if failure is not None:
            raise failure
        return not decides

    def loop(self, expr: Expr, scope: Scope) -> Any:
        assert expr.target is not None
        over = self.value(expr.target, scope)
        if not isinstance(over, list | dict):
            raise TypeError("not a list or map")
        variable, steps = expr.args[0].name, expr.args[1:]
        rounds = _rounds(variable, over, scope)
        if expr.name in {"filter", "map"} and len(steps) <= (1 if expr.name == "filter" else 2):
            return self.gathered(expr, steps, rounds, variable)
        if len(steps) > 1:
            raise Uncounted
        if expr.name in {"exists_one", "existsOne"}:
            found = 0
            for each in rounds:
                if self.value(steps[0], each):
                    self.spend(2)
                    found += 1
            self.spend(2)
            return found == 1
        return self.search(expr.name == "exists", steps[0], rounds)

    def gathered(self, expr: Expr, steps: tuple[Expr, ...], rounds: Iterator[Scope], variable: str) -> list[Any]:
        """`filter` and `map`: what is kept goes into a list of its own, which is joined to those before."""
        self.spend(LIST + 1)
        kept: list[Any] = []
        is_filter = expr.name == "filter"
        for each in rounds:
            if (is_filter or len(steps) > 1) and not self.value(steps[0], each):
                continue
            self.spend(LIST + 2 + is_filter)
            kept.append(each[variable] if is_filter else self.value(steps[-1], each))
        return kept

    def search(self, decides: bool, test: Expr, rounds: Iterator[Scope]) -> bool:
        """`all` and `exists`: each round looks first whether those before have decided it."""
        look, found, failure = 3 if decides else 2, not decides, None
        for each in rounds:
            self.spend(look)
            if found is decides:
                break
            self.spend(1)
            try:
                found = decides if self.value(test, each) is decides else found
            except FAULTS as error:
                failure = error
        self.spend(1)
        if failure is not None and found is not decides:
            raise failure
        return found

    def call(self, expr: Expr, scope: Scope) -> Any:
        target = expr.target
        if expr.name not in CALLED or (target is not None and target.kind == "name" and target.name not in scope):
            raise Uncounted
        parts = [self.value(each, scope) for each in ((target,) if target is not None else ()) + expr.args]
        result = CALLED[expr.name](*parts)
        self.spend(CALL_COSTS[expr.name](parts, result) if expr.name in CALL_COSTS else 1)
        return result


def _rounds(variable: str, over: Iterable[Any], scope: Scope) -> Iterator[Scope]:
    """The variables of each round; they are gone when the next one begins."""
    inner = dict(scope)
    for item in over:
        inner[variable] = item
        yield inner


def _is_attribute(expr: Expr) -> bool:
    return expr.kind in {"name", "select"} or (expr.kind == "operator" and expr.name == "[]")


def _is_loop(expr: Expr) -> bool:
    return expr.target is not None and expr.name in LOOPS and len(expr.args) > 1 and expr.args[0].kind == "name"


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str | bytes | list | dict) else 1


def _operator_cost(name: str, parts: list[Any]) -> int:
    texts = all(isinstance(each, str | bytes) for each in parts)
    if name in {"==", "!="} or (texts and name in {"<", "<=", ">", ">="}):
        return per_character(min(map(_size, parts)))
    if name == "in" and isinstance(parts[1], list):
        return len(parts[1])
    return per_character(sum(map(_size, parts))) if name == "+" and texts else 1


def _equal(left: Any, right: Any) -> bool:
    return bool(left == right and isinstance(left, bool) == isinstance(right, bool))


def _divided(left: Any, right: Any) -> Any:
    if isinstance(left, float):
        return left / right if right else math.nan
    return int(math.copysign(abs(left) // abs(right), left * right))


OPERATORS: Mapping[str, Callable[..., Any]] = {
    "==": _equal,
    "!=": lambda left, right: not _equal(left, right),
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda left, right: any(_equal(left, each) for each in right),
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divided,
    "%": lambda left, right: left - right * _divided(left, right),
    "!_": operator.not_,
    "-_": operator.neg,
}
CALLED: Mapping[str, Callable[..., Any]] = {
    **FUNCTIONS,
    "contains": lambda within, what: what in within,
    "double": float,
    "dyn": lambda value: value,
    "endsWith": str.endswith,
    "int": int,
    "matches": lambda text, pattern: re.search(pattern, text) is not None,
    "size": len,
    "startsWith": str.startswith,
    "string": lambda value: {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value),
}


def _walked(value: Any) -> int:
    """Going through all of a value."""
    if isinstance(value, list):
        return sum(map(_walked, value))
    if isinstance(value, dict):
        return sum(_walked(key) + _walked(each) for key, each in value.items())
    return len(value) // 10 if isinstance(value, str) else 1


def _matched(parts: list[Any], _result: Any) -> int:
    return per_character(_size(parts[0]) + 1) * per_character(_size(parts[1]), PATTERN)


CALL_COSTS: Mapping[str, Callable[[list[Any], Any], int]] = {
    **dict.fromkeys(
        ("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), lambda parts, _result: _walked(parts[0])
    ),
    **dict.fromkeys(
        ("endsWith", "isQuantity", "lowerAscii", "quantity", "startsWith", "substring", "trim", "upperAscii"),
        lambda parts, _result: per_character(_size(parts[0])),
    ),
    **dict.fromkeys(("replace", "split"), lambda parts, _result: per_character(2 * _size(parts[0]))),
    **dict.fromkeys(("find", "findAll", "matches"), _matched),
    "contains": lambda parts, _result: per_character(_size(parts[0])) * per_character(_size(parts[1])),
    "join": lambda _parts, result: per_character(2 * _size(result)),
}
