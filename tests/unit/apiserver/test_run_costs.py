"""What running a rule costs: the numbers are those of the CEL library's own tests, and of a real API server's."""

from typing import Any

import pytest

from protoqueue_devcluster.apiserver import validation
from protoqueue_devcluster.apiserver.crds import versions_of
from protoqueue_devcluster.apiserver.rule_costs import cost_causes
from protoqueue_devcluster.apiserver.run_costs import TooCostly, run_cost
from protoqueue_devcluster.apiserver.schema import MISSING

TEXT, LONG = "x" * 500, {"input": "x" * 500, "arg1": "y" * 500}


@pytest.mark.parametrize(
    ("source", "variables", "expected"),
    [
        ('"Hello World!"', {}, 0),
        ("input", {"input": [1, 2]}, 1),
        ("input['key']", {"input": {"key": "v"}}, 2),
        ("input[0]", {"input": ["v"]}, 2),
        ("input.single", {"input": {"single": 1}}, 2),
        ("input['ke' + 'y']", {"input": {"key": "v"}}, 3),
        ("input[3-3]", {"input": ["v"]}, 3),
        ("has(input.single)", {"input": {}}, 1),
        ("has(input.a.b)", {"input": {"a": {"b": "0"}}}, 2),
        ("[1, 2, 3]", {}, 10),
        ('{"a": 1, "b": 2, "c": 3}', {}, 30),
        ("input.all(x, true)", {"input": []}, 2),
        ("[1, 2, 3].all(x, true)", {}, 20),
        ("input.matches('[0-9]')", LONG, 103),
        ("'123'.matches('[0-9]')", {}, 2),
        ("true || false", {}, 0),
        ("a || b || c || d", dict.fromkeys("abcd", False), 4),
        ("a && b && c && d", dict.fromkeys("abcd", True), 4),
        ("1 < 2", {}, 1),
        ("2 in [1, 2, 3]", {}, 13),
        ("1 - 1", {}, 1),
        ("1 % 1", {}, 1),
        ("true ? 1 : 2", {}, 0),
        ("false ? false : 1 > 3", {}, 1),
        ('size("123")', {}, 1),
        ("'12345678901234567890' == '123456789012345678901234567890'", {}, 2),
        ("string(1)", {}, 1),
        ("input.contains(arg1)", LONG, 2502),
        ("input.startsWith(arg1)", {"input": "idc", "arg1": TEXT}, 3),
        ("input.size()", {"input": "500"}, 2),
        ("(x > 2 ? input1 : input2).all(y, true)", {"x": 1, "input1": [{}], "input2": [{}]}, 6),
        ("input.all(k, input[k].single > 3)", {"input": {"val": {"single": 0}}}, 9),
        ("(list1 + list2).all(x, true)", {"list1": [], "list2": []}, 4),
        ('"abcdefg".contains(str1 + str2)', {"str1": "val1", "str2": "val2222222"}, 6),
        ("(1 > 2 ? 5 : 3) > 1", {}, 2),
        ("(1 > 2 || 2 > 1) == true", {}, 3),
        ("[{'k1': 1}, {'k2': 2}].all(x, true)", {}, 77),
        ("[1,2,3,4,5].filter(x, x % 2 == 0)", {}, 62),
        ("[1,2,3,4,5].map(x, x)", {}, 86),
        ("[1,2,3,4,5].map(x, x).filter(x, x % 2 == 0)", {}, 138),
        ("[1,2,3,4,5].map(x, x).exists(x, x == 5) == true", {}, 118),
        ("[1,2,3,4,5].map(x, [x, x]).filter(z, z.size() == 2)", {}, 232),
        ("[1,2,3,4,5].map(x, [x, x]).all(y, y.all(y, y == 1))", {}, 171),
        ("[1,2,3,4,5].map(x, x).map(x, x) + [1]", {}, 173),
        ("[1,2,3].all(i, i in [1,2,3].map(j, j + j))", {}, 86),
        ("'ABCDEFGHIJ abcdefghij'.lowerAscii()", {}, 3),
        ("'ABCDEFGHIJ abcdefghij'.lowerAscii() == 'abcdefghij ABCDEFGHIJ'.lowerAscii()", {}, 9),
        ("'abc 123 def 123'.replace('123', '456')", {}, 3),
        ("'abc 123 def 123'.split(' ')", {}, 3),
        ("'abc 123 def 123'.substring(5, 8)", {}, 2),
        ("['aa', 'bb', 'cc', 'd', 'e', 'f', 'g', 'h', 'i', 'j'].join(' ')", {}, 15),
        ("'abc 123 def 123'.find('123')", {}, 2),
        ('quantity("200M") == quantity("0.2G") && quantity("0.2G") == quantity("200M")', {}, 6),
        ('quantity("200M").compareTo(quantity("0.2G")) > 0', {}, 4),
        ("-3 + 4 == 1 && !(-1 > 0)", {}, 4),
    ],
)
def test_a_run_costs_what_it_does_on_a_real_server(source: str, variables: dict[str, Any], expected: int) -> None:
    assert run_cost(source, variables) == expected


def test_a_run_that_ends_with_an_error_costs_what_it_took_until_then() -> None:
    assert run_cost("self.all(x, true) && self[5] == 1", {"self": [1]}) == run_cost(
        "self.all(x, true)", {"self": [1]}
    ) + run_cost("self[0]", {"self": [1]})


def test_what_is_not_known_here_costs_nothing() -> None:
    for source in ("duration('1s') < duration('2s')", "nowhere.all(x, true)", "oldSelf.hasValue()"):
        assert run_cost(source, {"self": {}}) == 0


def test_a_run_is_ended_at_the_limit() -> None:
    with pytest.raises(TooCostly):
        run_cost('"abcdefg".contains(str1 + str2)', {"str1": "val1", "str2": "val2222222"}, limit=5)


PATTERN = "y" * 400
DEAR = f"!self.matches('{PATTERN}')"
"""Ten steps for each character, and three more."""


def checked(texts: list[str], *rules: dict[str, str], most: int = 110_000) -> list[tuple[str, str]]:
    """The causes of an object whose texts, in `spec`, have a rule."""
    text = {"type": "string", "maxLength": most, "x-kubernetes-validations": list(rules)}
    names = {"kind": "Dear", "listKind": "DearList", "plural": "dears", "singular": "dear"}
    schema = {"type": "object", "properties": {"spec": {"type": "array", "maxItems": 2, "items": text}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    definition = {"spec": {"group": "g", "scope": "Namespaced", "names": names, "versions": [version]}}
    assert list(cost_causes(schema, "", unchanged=False)) == []
    (kind,) = versions_of(definition)
    body = {"apiVersion": "g/v1", "kind": "Dear", "metadata": {"name": "x"}, "spec": texts}
    return [(cause.field, cause.message) for cause in validation.validate(body, MISSING, kind.schema)]


def test_a_rule_that_takes_too_much_for_one_value_is_ended_and_no_other_is_run() -> None:
    short, long = "x" * 90_000, "x" * 100_000
    assert checked([short], {"rule": DEAR}) == []
    text = (
        "Invalid value: \"string\": 'operation cancelled: actual cost limit exceeded': no further validation rules "
        f"will be run due to call cost exceeds limit for rule: {DEAR}"
    )
    assert checked([short, long], {"rule": DEAR}) == [("spec[1]", text)]
    (cause,) = checked([long], {"rule": DEAR, "message": "must not be y"}, {"rule": "false"})
    assert cause[1].endswith("exceeds limit for rule: must not be y")


def test_the_rules_of_one_object_may_together_take_ten_times_as_much() -> None:
    text = (
        'Invalid value: "string": validation failed due to running out of cost budget, no further validation rules '
        "will be run"
    )
    six = [{"rule": DEAR}] * 6
    assert checked(["x" * 90_000] * 2, *six) == [("spec[1]", text)], "twelve times 900,103"
    assert checked(["x" * 90_000, "x" * 70_000], *six) == []


def test_nothing_is_counted_where_no_object_can_take_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validation, "run_cost", None)
    assert checked(["x"], {"rule": DEAR}, most=1000) == []


def test_a_message_that_takes_too_much_is_ended_too() -> None:
    message = f"self.matches('{PATTERN}') ? 'y' : 'not y'"
    (cause,) = checked(["x" * 100_000], {"rule": "self == ''", "messageExpression": message})
    assert cause[1].endswith(f'call cost exceeds limit for messageExpression: "{message}"')
