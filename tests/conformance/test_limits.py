"""What a real API server does not take, however it is sent."""

import json
from typing import Any

import pytest

from conformance.kubeapi import Api
from conformance.widgets import Widgets, definition, unique
from waiting import eventually

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ANNOTATIONS = 256 * 1024
JSON = {"Content-Type": "application/json"}


def nested(depth: int) -> str:
    return '{"x":' * depth + "0" + "}" * depth


def with_field(widget: dict[str, Any], name: str, text: str) -> str:
    """As JSON, with one field more in its spec: Python's own encoder gives up where a real server does not."""
    return json.dumps(widget).replace('"spec": {', f'"spec": {{"{name}": {text}, ', 1)


async def test_annotations_are_counted_together(api: Api, widgets: Widgets) -> None:
    def body(name: str, size: int) -> Any:
        return widgets.named(name, {"annotations": {f"{letter}/{letter}": "x" * size for letter in "abcd"}})

    most = ANNOTATIONS // 4 - len("a/a")
    assert (await api.post(widgets.path, body("full", most))).status == 201
    reply = await api.post(widgets.path, body("fuller", most + 1))
    assert (reply.status, reply.causes) == (422, [("metadata.annotations", "FieldValueTooLong")])
    assert "metadata.annotations: Too long: may not be more than 262144 bytes" in reply.message
    assert (await api.patch(widgets.at("full"), {"metadata": {"annotations": {"e/e": "x"}}})).status == 422


@pytest.mark.parametrize("depth", [900, 3_000, 9_000])
async def test_what_is_nested_deeply_is_stored_where_the_schema_lets_it(api: Api, widgets: Widgets, depth: int) -> None:
    stored = with_field(widgets.named("deep"), "free", nested(depth))
    async with api.session.post(api.url + widgets.path, data=stored, headers=JSON) as response:
        assert response.status == 201
    async with api.session.get(api.url + widgets.path) as response:
        assert (await response.text()).count('{"x":') == depth
    assert (await api.delete(widgets.at("deep"))).status == 200


async def test_what_is_nested_deeply_goes_with_the_field_that_the_schema_does_not_know(
    api: Api, widgets: Widgets
) -> None:
    text = with_field(widgets.named("pruned"), "unknown", nested(9_000))
    assert (await api.request("POST", f"{widgets.path}?fieldValidation=Strict", text)).status == 400
    reply = await api.request("POST", f"{widgets.path}?fieldValidation=Ignore", text)
    assert reply.status == 201
    assert "unknown" not in reply.body["spec"]


async def test_what_is_nested_more_deeply_than_json_may_be_is_refused(api: Api, widgets: Widgets) -> None:
    for depth in (10_001, 100_000):
        text = with_field(widgets.named("abyss"), "free", nested(depth))
        assert (await api.request("POST", widgets.path, text)).status == 400
    assert (await api.get(widgets.path)).names == []


STATUS = {"type": "object", "properties": {"text": {"type": "string", "maxLength": 5}}}


@pytest.fixture
def bounded() -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": {"type": "object"}, "status": STATUS}}


async def test_a_status_has_the_bounds_of_its_schema(api: Api, namespace: str, bounded: dict[str, Any]) -> None:
    group = f"{unique('gauge')}.example.com"
    assert (await api.post(DEFINITIONS, definition(group, bounded, "gauges"))).status == 201
    path = f"/apis/{group}/v1/namespaces/{namespace}/gauges"
    body = {"apiVersion": f"{group}/v1", "kind": "Gauge", "metadata": {"name": "x"}, "spec": {}}

    async def made() -> bool:
        return (await api.post(path, body)).status in (201, 409)

    await eventually(made)
    reply = await api.patch(f"{path}/x/status", {"status": {"text": "too long"}})
    assert (reply.status, reply.causes) == (422, [("status.text", "FieldValueTooLong")])
    reply = await api.patch(f"{path}/x/status", {"status": {"text": "short", "more": 1}})
    assert reply.body["status"] == {"text": "short"}
    await api.delete(f"{DEFINITIONS}/gauges.{group}")


def listed(rule: str, **bounds: int) -> dict[str, Any]:
    """A schema whose lists have a rule each; `items` and `inner` bound their lengths."""
    inner = {"type": "array", "items": {"type": "integer"}, "x-kubernetes-validations": [{"rule": rule}]}
    outer = {"type": "array", "items": inner}
    for name, schema in (("items", outer), ("inner", inner)):
        if name in bounds:
            schema["maxItems"] = bounds[name]
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": {"items": outer}}}}


WHERE = "spec.validation.openAPIV3Schema"
ITEMS = f"{WHERE}.properties[spec].properties[items]"
NESTED = "self.all(x, self.exists(y, x != y))"


async def test_a_rule_that_may_be_too_much_work_is_refused(api: Api) -> None:
    group = f"{unique('dear')}.example.com"
    reply = await api.post(DEFINITIONS, definition(group, listed(NESTED), "dears"))
    place = f"{ITEMS}.items.x-kubernetes-validations[0].rule"
    assert (reply.status, reply.causes[0]) == (422, (place, "FieldValueForbidden"))
    text = (
        f"{place}: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the "
        "rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
    assert text in reply.message
    assert reply.causes[-1] == (WHERE, "FieldValueForbidden")
    assert f"{WHERE}: Forbidden: x-kubernetes-validations estimated rule cost total for entire" in reply.message
    assert (await api.get(f"{DEFINITIONS}/dears.{group}")).status == 404


async def test_a_rule_is_taken_whose_lists_are_bounded_and_refused_when_an_update_lifts_a_bound(api: Api) -> None:
    group = f"{unique('dear')}.example.com"
    path = f"{DEFINITIONS}/dears.{group}"
    reply = await api.post(DEFINITIONS, definition(group, listed(NESTED, items=100, inner=100), "dears"))
    assert reply.status == 201
    lifted = definition(group, listed(NESTED, inner=100), "dears")["spec"]["versions"]
    reply = await api.patch(path, {"spec": {"versions": lifted}})
    assert (reply.status, reply.causes[0][1]) == (422, "FieldValueForbidden")
    assert "estimated rule cost exceeds budget by factor of more than 100x" in reply.message
    assert (await api.patch(path, {"metadata": {"labels": {"kept": "true"}}})).status == 200
    await api.delete(path)


async def test_rules_of_a_definition_are_counted_together(api: Api) -> None:
    group = f"{unique('dear')}.example.com"
    rule = [{"rule": "self > 1"}]
    costly = {
        "type": "array",
        "maxItems": 4_900_000,
        "items": {"type": "integer", "x-kubernetes-validations": rule},
    }

    def lists(count: int) -> dict[str, Any]:
        spec = {"type": "object", "properties": {f"list{index}": costly for index in range(count)}}
        return definition(group, {"type": "object", "properties": {"spec": spec}}, "dears")

    reply = await api.post(DEFINITIONS, lists(11))
    assert (reply.status, len(reply.causes), reply.causes[-1][0]) == (422, 5, WHERE)
    assert reply.message.count("contributed to estimated rule cost total exceeding cost limit for entire") == 4
    assert "exceeds budget by factor of 1.078000x" in reply.message
    assert (await api.post(DEFINITIONS, lists(10))).status == 201
    await api.delete(f"{DEFINITIONS}/dears.{group}")


async def test_an_object_whose_rules_take_too_much_is_refused(api: Api, namespace: str) -> None:
    group = f"{unique('dear')}.example.com"
    rules = [{"rule": f"!self.matches('{letter * 400}')", "message": f"no {letter}"} for letter in "abcdef"]
    text = {"type": "string", "maxLength": 110_000, "x-kubernetes-validations": rules}
    texts = {"type": "array", "maxItems": 2, "items": text}
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"texts": texts}}}}
    assert (await api.post(DEFINITIONS, definition(group, schema, "dears"))).status == 201
    path = f"/apis/{group}/v1/namespaces/{namespace}/dears"

    def body(name: str, *texts: int) -> dict[str, Any]:
        spec = {"texts": ["x" * size for size in texts]}
        return {"apiVersion": f"{group}/v1", "kind": "Dear", "metadata": {"name": name}, "spec": spec}

    async def made() -> bool:
        return (await api.post(path, body("well", 90_000, 70_000))).status in (201, 409)

    await eventually(made)
    reply = await api.post(path, body("one", 10, 100_000))
    assert (reply.status, reply.causes) == (422, [("spec.texts[1]", "FieldValueInvalid")])
    assert "call cost exceeds limit for rule: no a" in reply.message
    reply = await api.post(path, body("all", 90_000, 90_000))
    assert (reply.status, reply.causes) == (422, [("spec.texts[1]", "FieldValueInvalid")])
    assert "validation failed due to running out of cost budget" in reply.message
    await api.delete(f"{DEFINITIONS}/dears.{group}")
