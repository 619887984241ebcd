"""What a schema refuses, and how the refusal reads."""

from typing import Any

import pytest

from conformance.kubeapi import Api
from conformance.widgets import Widgets

UNCHECKED = ("<nil>", "FieldValueInvalid")


async def test_every_error_is_listed(api: Api, widgets: Widgets) -> None:
    """In any order: a real server walks the fields at random; but the last says that rules were not looked at."""
    reply = await api.post(widgets.path, widgets.named("bad", size=0, mode="C", wait="soon"))
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert reply.message.startswith(f'Widget.{widgets.group} "bad" is invalid: [')
    for text in (
        'spec.mode: Unsupported value: "C": supported values: "A", "B", ',
        "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1, ",
        "spec.wait: Invalid value: \"soon\": spec.wait in body should match '^([0-9]+(ms|s|m|h|d))+$', ",
    ):
        assert text in reply.message
    assert reply.message.endswith(
        ", <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; "
        "correct the existing errors to complete validation]"
    )
    *causes, last = reply.causes
    assert sorted(causes) == [
        ("spec.mode", "FieldValueNotSupported"),
        ("spec.size", "FieldValueInvalid"),
        ("spec.wait", "FieldValueInvalid"),
    ]
    assert last == UNCHECKED


@pytest.mark.parametrize(
    ("spec", "field", "reason", "text"),
    [
        ({"size": "x"}, "spec.size", "FieldValueTypeInvalid", 'must be of type integer: "string"'),
        ({"size": 11}, "spec.size", "FieldValueInvalid", "should be less than or equal to 10"),
        ({"ratio": 0}, "spec.ratio", "FieldValueInvalid", "should be greater than 0"),
        ({"title": "a"}, "spec.title", "FieldValueInvalid", "should be at least 2 chars long"),
        ({"title": "abcdef"}, "spec.title", "FieldValueTooLong", "Too long: may not be more than 5 bytes"),
        ({"tags": ["a", "b", "c", "d"]}, "spec.tags", "FieldValueTooMany", "Too many: 4: must have at most 3 items"),
        ({"tags": ["a", "a"]}, "spec.tags[1]", "FieldValueDuplicate", 'Duplicate value: "a"'),
        ({"items": [{"name": "x"}, {"name": "x"}]}, "spec.items[1]", "FieldValueDuplicate", "Duplicate value"),
        ({"items": [{"v": 1}]}, "spec.items[0].name", "FieldValueRequired", "Required value"),
        ({"port": True}, "spec.port", "FieldValueTypeInvalid", "must be of type integer,string"),
        ({"notes": {"a": 1}}, "spec.notes.a", "FieldValueTypeInvalid", 'must be of type string: "integer"'),
    ],
)
async def test_a_value_outside_its_schema_is_refused(
    api: Api, widgets: Widgets, spec: dict[str, Any], field: str, reason: str, text: str
) -> None:
    reply = await api.post(widgets.path, widgets.named("bad", **spec))
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert (field, reason) in reply.causes
    assert text in reply.message


async def test_a_missing_required_field_is_named(api: Api, widgets: Widgets) -> None:
    reply = await api.post(widgets.path, widgets.applied("bad"))
    assert reply.causes == [("spec.size", "FieldValueRequired"), UNCHECKED]
    assert "spec.size: Required value" in reply.message


async def test_int_or_string_takes_both(api: Api, widgets: Widgets) -> None:
    assert (await api.post(widgets.path, widgets.named("one", port=80))).body["spec"]["port"] == 80
    assert (await api.post(widgets.path, widgets.named("two", port="http"))).body["spec"]["port"] == "http"


async def test_a_rule_over_two_fields_is_refused_at_their_parent(api: Api, widgets: Widgets) -> None:
    reply = await api.post(widgets.path, widgets.named("bad", cron="x", every="y"))
    assert reply.message == (
        f'Widget.{widgets.group} "bad" is invalid: spec: Invalid value: give cron or every, not both'
    )
    assert reply.causes == [("spec", "FieldValueInvalid")]


async def test_a_value_out_of_bounds_does_not_hide_the_rules(api: Api, widgets: Widgets) -> None:
    reply = await api.post(widgets.path, widgets.named("bad", size=11, cron="x", every="y"))
    assert reply.causes == [("spec.size", "FieldValueInvalid"), ("spec", "FieldValueInvalid")]


async def test_a_rule_on_the_name_is_refused_at_the_root(api: Api, widgets: Widgets) -> None:
    reply = await api.post(widgets.path, widgets.named("a.b"))
    assert reply.message == f'Widget.{widgets.group} "a.b" is invalid: <nil>: Invalid value: name must be a DNS label'


async def test_a_message_expression_speaks_of_the_values(api: Api, widgets: Widgets) -> None:
    reply = await api.post(widgets.path, widgets.named("bad", low=3, high=2, title="Mine"))
    assert "spec: Invalid value: Mine has its low above its high" in reply.message


async def test_a_transition_rule_forbids_the_change_and_only_that(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one", levels=3))
    refused = await api.patch(widgets.at("one"), {"spec": {"mode": "B"}})
    assert refused.message == (
        f'Widget.{widgets.group} "one" is invalid: spec.mode: Invalid value: "B": mode is immutable'
    )
    assert refused.causes == [("spec.mode", "FieldValueInvalid")]
    assert (await api.patch(widgets.at("one"), {"spec": {"levels": 2}})).status == 422
    assert (await api.patch(widgets.at("one"), {"spec": {"levels": 4}})).status == 200


async def test_a_transition_rule_does_not_bind_a_new_object(api: Api, widgets: Widgets) -> None:
    assert (await api.post(widgets.path, widgets.named("one", mode="B"))).status == 201
