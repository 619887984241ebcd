"""What rules are estimated to cost: the numbers are those of a real API server's own tests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from protoqueue_devcluster.apiserver.expression_costs import cost
from protoqueue_devcluster.apiserver.rule_costs import EXPRESSION_LIMIT, SCHEMA_LIMIT, cost_causes, estimates
from protoqueue_devcluster.apiserver.rule_syntax import SyntaxFault, parse
from protoqueue_devcluster.apiserver.rule_types import ANY, declared

Schema = dict[str, Any]
CRDS = sorted((Path(__file__).parents[3] / "crds").glob("*.yaml"))
FORMATS = ("byte", "date", "date-time", "duration")


def of(kind: str) -> Schema:
    if kind == "int-or-string":
        return {"x-kubernetes-int-or-string": True}
    return {"type": "string", "format": kind} if kind in FORMATS else {"type": kind}


def bound(word: str, most: int | None) -> Schema:
    return {} if most is None else {word: most}


def text(most: int | None = None) -> Schema:
    return {"type": "string", **bound("maxLength", most)}


def some(items: Schema, most: int | None = None) -> Schema:
    return {"type": "array", "items": items, **bound("maxItems", most)}


def named(values: Schema, most: int | None = None) -> Schema:
    return {"type": "object", "additionalProperties": values, **bound("maxProperties", most)}


def fields(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties}


PAIR = {**fields(required=text(), optional=text()), "required": ["required"]}
ALL = "self.all(x, true)"


@pytest.mark.parametrize(
    ("schema", "rule", "expected"),
    [
        (some(of("number")), ALL, 4718591),
        (some(of("number"), 10), ALL, 32),
        (some(of("string")), ALL, 3145727),
        (some(of("boolean")), ALL, 1887437),
        (some(some(of("number"))), ALL, 3145727),
        (some(PAIR), ALL, 555128),
        (some(of("int-or-string")), ALL, 4718591),
        (some(of("duration")), ALL, 2359295),
        (some(of("date")), ALL, 725936),
        (some(of("date-time")), ALL, 428963),
        (named(of("number")), ALL, 1348169),
        (named(of("string")), ALL, 1179647),
        (named(of("string"), 3), ALL, 11),
        (named(of("boolean")), ALL, 943718),
        (named(of("int-or-string")), ALL, 1348169),
        (named(PAIR), ALL, 428963),
        (named(named(of("number"))), ALL, 1179647),
        (named(some(of("number"))), ALL, 1179647),
        (named(of("duration")), ALL, 1048577),
        (named(of("date")), ALL, 524288),
        (named(of("date-time")), ALL, 349526),
        (text(), "self.contains('test')", 314574),
        (text(10), "self.contains('test')", 5),
        (text(), "self.startsWith('test')", 2),
        (text(), 'size(self + "hello") > size("hello")', 314578),
        (text(4), 'size(self + "hello") > size("hello")', 7),
        (some(of("number")), "self[1] == 0.0", 2),
        (some(of("string")), "self[1] == self[1]", 314577),
        (some(of("number"), 10), "self.all(x, self.all(y, true))", 352),
        (some(of("number"), 10), "self.all(x, self.all(y, self.all(z, true)))", 3552),
        (text(), 'self.matches("x")', 314574),
        (text(50), 'self.matches("x")', 22),
        (text(), '"".matches("(((((((((())))))))))[0-9]")', 7),
        (text(), 'self.matches("")', 1),
        (named(text()), "self.all(x, x.contains(self[x]))", 2752507),
        (named(text(10), 10), "self.all(x, x.contains(self[x]))", 72),
        (text(), 'self == "x"', 2),
        (text(0), 'self == "x"', 1),
        ({**of("byte"), "maxLength": 0}, 'self == b"x"', 1),
        (some(of("number")), "self.all(x, x == 0.0)", 6291454),
        (some(of("number"), 3 * 1024 * 2048), "self.all(x, x == 0.0)", 25165826),
        (some(named(PAIR)), 'self.all(x, x["y"].required == "z")', 7340027),
        (some(named(PAIR), 10), 'self.all(x, x["y"].required == "z")', 72),
        (some(of("int-or-string")), "self[0] == 5", 3),
        (some(of("boolean")), "self[0] == false", 2),
        (some(PAIR), "self[0] == null", 2),
        (some(some(of("number"))), "self[0][0] == -1.0", 3),
        (some(named(of("number"))), "self.all(x, x.y == 25.2)", 6291452),
        (some(named(of("number"))), "self[0].x > 2.0", 4),
        (some(of("duration")), "self[0].getHours() == 2", 4),
        (some(of("date")), "self[2].getDayOfMonth() == 13", 4),
        (text(), "self.find('[0-9]+') == ''", 629147),
        (text(10), "self.find('[0-9]+') == ''", 11),
        (some(text()), "self.join(' ') == 'aa bb'", 329853068905),
        (some(text(10), 10), "self.join(' ') == 'aa bb'", 43),
        (some(text()), "self.isSorted() == true", 329854432052),
        (some(text(10), 10), "self.isSorted() == true", 52),
        (
            fields(str=text(), before=text(2), after=text(4)),
            "self.str.replace(self.before, self.after) == 'does not matter'",
            629154,
        ),
        (fields(str=text(), separator=text()), "self.str.split(self.separator) == []", 629160),
        (fields(str=text(10), separator=text(10)), "self.str.split(self.separator) == []", 22),
        (text(), "self.lowerAscii() == 'lower!'", 314575),
        (named(of("integer")), "oldSelf.size() == self.size()", 5),
        (named(of("date-time")), 'self["a"] == self["b"]', 8),
        (named(of("duration")), 'self["c"] == self["d"]', 8),
        ({**text(), "enum": ["A", "B", "C", "LongValue"]}, "self.contains('A')", 2),
        ({**text(1000), "enum": ["A", "B", "C", "LongValue"]}, "self.contains('A')", 401),
        (of("int-or-string"), "isQuantity(self)", 314574),
        ({**of("int-or-string"), "maxLength": 20}, "isQuantity(self)", 9),
    ],
)
def test_a_rule_is_estimated_as_a_real_server_does(schema: Schema, rule: str, expected: int) -> None:
    own = declared(schema)
    assert own is not None
    assert cost(rule, own) == expected


@pytest.mark.parametrize(
    "rule",
    [
        "self.all(x, self.all(y, true))",
        "self.filter(x, x > 1).all(y, self.exists(z, z == y))",
        "self.map(x, x + 1).all(y, self.exists_one(z, z == y))",
    ],
)
def test_loops_within_loops_over_an_unbounded_list_exceed_the_budget(rule: str) -> None:
    own = declared(some(of("integer")))
    assert own is not None
    assert cost(rule, own) > EXPRESSION_LIMIT


def test_asking_whether_a_field_is_there_costs_nothing_beyond_reaching_it() -> None:
    assert cost("has(self.x)", declared(named(of("number"))) or ANY) == 1


def nodes(expr: Any) -> str:
    """A tree as text."""
    inner = [] if expr.target is None else [nodes(expr.target)]
    inner += [nodes(each) for each in expr.args]
    return f"{expr.name or expr.kind}({' '.join(inner)})" if inner else expr.name or expr.kind


@pytest.mark.parametrize(
    ("rule", "tree"),
    [
        ("a || b && !c", "||(a &&(b !_(c)))"),
        ("a && b && c", "&&(a b c)"),
        ("a ? b : c ? d : e", "?:(a b ?:(c d e))"),
        ("1 + 2 * x < 3 - -y", "<(+(int *(int x)) -(int -_(y)))"),
        ("!!a", "a"),
        ("!-1", "!_(int)"),
        ("has(a.b.c)", "c(b(a))"),
        ("a.b['x'].c(1u, 2.5)", "c([](b(a) string) uint double)"),
        ("x in [1, 2,]", "in(x list(int int))"),
        ("{'a': 1, 'b': [2]}", "map(string int string list(int))"),
        ('r\'\\\' + """it\'s""" // not \'this', "+(string string)"),
        ("a.inner in b.index", "in(inner(a) index(b))"),
    ],
)
def test_an_expression_is_parsed_as_the_language_has_it(rule: str, tree: str) -> None:
    assert nodes(parse(rule)) == tree


@pytest.mark.parametrize("rule", ["", "a b", "(a", "a.", "'a", "a ? b", "[1 2]", "a &&", "@", "in", "! in(x)", ".true"])
def test_what_the_language_does_not_have_is_not_parsed(rule: str) -> None:
    with pytest.raises(SyntaxFault):
        parse(rule)


@pytest.mark.parametrize(
    "rule", ["a.in()", "contains()", "a.replace('x')", "a.b().`[]`()", "size()", "a.all(x)", "a.join()"]
)
def test_a_call_of_a_function_with_other_arguments_is_estimated(rule: str) -> None:
    assert cost(rule, ANY) >= 0


def test_an_expression_that_is_nested_too_deeply_is_a_fault_of_the_expression() -> None:
    with pytest.raises(SyntaxFault, match="recursion limit"):
        cost("(" * 5_000 + "1" + ")" * 5_000, ANY)


@pytest.mark.parametrize(
    ("literal", "size"), [("'abc'", 3), (r"'\n\u00e9\''", 3), (r"r'\n'", 2), ("b'é'", 2), ("'''a\n'''", 2)]
)
def test_a_text_counts_with_its_characters(literal: str, size: int) -> None:
    assert parse(literal).size == size


def resource(**spec: Schema) -> Schema:
    return fields(spec=fields(**spec))


def with_rule(schema: Schema, rule: str, **more: Any) -> Schema:
    return {**schema, "x-kubernetes-validations": [{"rule": rule, **more}]}


def causes(schema: Schema, unchanged: bool = False) -> list[tuple[str, str]]:
    return [(each.field, each.message) for each in cost_causes(schema, "s", unchanged)]


def test_a_rule_counts_as_often_as_the_lists_and_maps_around_it_allow() -> None:
    item = with_rule(of("integer"), "self > 1")  # 2
    schema = resource(
        bounded=some(named(item, 7), 5),
        open=some(item),
        half=some(some(item, 10)),
        never=some(item, 0),
    )
    found = {each.path.split("[")[2].split("]")[0]: each.cost for each in estimates(schema, "s")}
    assert found == {
        "bounded": 2 * 5 * 7,
        "open": 2 * (3 * 1024 * 1024 // 2),
        "half": 2 * (3 * 1024 * 1024 // 2),
        "never": 0,
    }


@pytest.mark.parametrize(
    ("most", "factor"),
    [(5_000_001, "1.000000x"), (7_000_000, "1.400000x"), (10_000_000, "2.0x"), (10**10, "more than 100x")],
)
def test_a_cause_says_by_how_much_a_rule_is_too_costly(most: int, factor: str) -> None:
    (cause, *_) = causes(resource(items=some(with_rule(of("integer"), "self > 1"), most)))
    assert cause[0] == "s.properties[spec].properties[items].items.x-kubernetes-validations[0].rule"
    assert cause[1].startswith(f"Forbidden: estimated rule cost exceeds budget by factor of {factor} (try simplifying")


def test_a_rule_may_cost_as_much_as_the_budget() -> None:
    assert causes(resource(items=some(with_rule(of("integer"), "self > 1"), 5_000_000))) == []


def test_a_message_expression_has_a_cost_of_its_own() -> None:
    schema = resource(x=with_rule(some(text()), "true", messageExpression="self.join(',')"))
    ((place, message), *total) = causes(schema)
    assert place.endswith("x-kubernetes-validations[0].messageExpression")
    assert "estimated messageExpression cost exceeds budget by factor of more than 100x" in message
    assert [each.split(".x-")[0] for each, _ in total] == ["s.properties[spec].properties[x]", "s"]


def test_rules_that_are_each_in_budget_can_exceed_that_of_the_schema() -> None:
    rules = {f"r{index}": some(with_rule(of("integer"), "self > 1"), 4_999_999) for index in range(11)}
    found = causes(resource(**rules))
    contributed = [place for place, message in found if "contributed to estimated rule cost total" in message]
    assert len(contributed) == 4
    assert found[4][0] == "s"
    assert "estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of 1.1" in found[4][1]
    assert len(found) == 5


def test_a_schema_that_an_update_does_not_change_keeps_its_costly_rule() -> None:
    schema = resource(items=some(with_rule(of("integer"), "self > 1"), 6_000_000))
    assert len(causes(schema)) == 1
    assert causes(schema, unchanged=True) == []


@pytest.mark.parametrize("path", CRDS, ids=lambda path: path.stem)
def test_our_own_rules_are_far_within_the_budget(path: Path) -> None:
    (version,) = yaml.safe_load(path.read_text())["spec"]["versions"]
    schema: Mapping[str, Any] = version["schema"]["openAPIV3Schema"]
    found = list(estimates(schema, path.stem))
    listed = "\n".join(f"{each.cost:>12,} {each.path}" for each in sorted(found, key=lambda each: -each.cost))
    assert found
    assert max(each.cost for each in found) < EXPRESSION_LIMIT / 2, listed
    assert sum(each.cost for each in found) < SCHEMA_LIMIT / 10, listed
