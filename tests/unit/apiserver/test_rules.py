"""CEL rules: the Kubernetes functions, what a rule depends on, quantities."""

from decimal import Decimal
from typing import Any

import pytest

from protoqueue_devcluster.apiserver.rules import InvalidRule, parse_rules, quantity
from protoqueue_devcluster.apiserver.schema import MISSING, go_pattern, parse_schema
from protoqueue_devcluster.apiserver.validation import validate


def failure(rule: str, value: Any, old: Any = MISSING, **more: Any) -> str | None:
    (parsed,) = parse_rules([{"rule": rule, **more}])
    return parsed.failure(value, old, old is not MISSING)


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("quantity(self).isGreaterThan(quantity('1Gi'))", "1500Mi"),
        ("isQuantity(self)", "100m"),
        ("!isQuantity(self)", "lots"),
        ("self.split(',').size() == 3", "a,b,c"),
        ("self.lowerAscii() == 'abc'", "ABC"),
        ("self.find('[0-9]+') == '42'", "answer 42!"),
        ("self.isSorted() && self.sum() == 6", [1, 2, 3]),
        ("self.indexOf('b') == 1", ["a", "b"]),
        ("duration(self) >= duration('90s')", "2m"),
        ("self.__namespace__ == 'x' && self.a__dash__b == 1", {"namespace": "x", "a-b": 1}),
        ("self.all(k, self[k] > 0)", {"a": 1}),
    ],
)
def test_a_rule_may_use_the_functions_kubernetes_adds(rule: str, value: Any) -> None:
    assert failure(rule, value) is None


def test_a_failed_rule_without_message_shows_itself() -> None:
    assert failure("self > 1", 1) == "failed rule: self > 1"


def test_a_missing_field_is_named() -> None:
    assert failure("self.a > 1", {}) == "no such key: a evaluating rule: self.a > 1"


@pytest.mark.parametrize("rule", ["self >", "nonsense(self)", ""])
def test_a_rule_that_does_not_compile_is_invalid(rule: str) -> None:
    with pytest.raises(InvalidRule):
        parse_rules([{"rule": rule}])


def test_a_transition_rule_waits_for_an_old_value() -> None:
    assert failure("self == oldSelf", 1) is None
    assert failure("self == oldSelf", 1, 2, message="immutable") == "immutable"


def test_an_optional_old_value_lets_a_transition_rule_see_creation() -> None:
    rule = "oldSelf.hasValue() || self == 1"
    assert failure(rule, 1, optionalOldSelf=True) is None
    assert failure(rule, 2, optionalOldSelf=True) is not None
    assert failure(rule, 2, 1, optionalOldSelf=True) is None


@pytest.mark.parametrize(
    ("rule", "parts"),
    [
        ("self.metadata.name != 'x'", {"metadata"}),
        ("has(self.a) && self.b > oldSelf.b", {"a", "b"}),
        ("self.size() > 1", None),
        ("size(self) > 1", None),
        ("'a' in self", None),
        ("self['a'] == 1", None),
    ],
)
def test_a_rule_knows_which_fields_it_looks_at(rule: str, parts: set[str] | None) -> None:
    (parsed,) = parse_rules([{"rule": rule}])
    assert parsed.parts == parts


def test_what_an_update_leaves_alone_is_not_checked_again() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "integer", "maximum": 3}, "b": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.a < 2"}],
    }
    node = parse_schema(schema)
    assert validate({"a": 9, "b": 2}, {"a": 9, "b": 1}, node) == []
    assert [cause.field for cause in validate({"a": 8}, {"a": 9}, node)] == ["a", "<nil>"]


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("100m", "0.1"), ("1.5Gi", 1.5 * 2**30), ("2k", 2000), ("1e3", 1000), ("3M", 3_000_000), ("-1", -1)],
)
def test_quantities_are_numbers(text: str, number: Any) -> None:
    assert quantity(text) == Decimal(number)


def test_what_is_no_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        quantity("1 Gi")


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [("^a$", "a\n", False), (r"^a\z", "a", True), ("^(?i)(abort|warn)?$", "Warn", True), ("^(?i)a|b$", "xB", True)],
)
def test_a_pattern_is_read_as_go_reads_it(pattern: str, text: str, matches: bool) -> None:
    assert bool(go_pattern(pattern).search(text)) is matches
