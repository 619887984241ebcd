"""Custom resource definitions: accepted, refused, changed, removed."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from conformance.kubeapi import Api
from conformance.widgets import OPEN, definition, unique
from waiting import eventually

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def root(**spec: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": {"type": "object", **spec}}}


@pytest.fixture
async def gadgets(api: Api) -> AsyncIterator[str]:
    """A group with a definition of gadgets of its own, free to change."""
    group = f"{unique('gad')}.example.com"
    schema = root(properties={"size": {"type": "integer"}})
    assert (await api.post(DEFINITIONS, definition(group, schema, "gadgets"))).status == 201

    async def served() -> bool:
        return (await api.get(f"/apis/{group}/v1/gadgets")).status == 200

    await eventually(served)
    yield group
    await api.delete(f"{DEFINITIONS}/gadgets.{group}")


def gadget(group: str, name: str = "g", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": f"{group}/v1", "kind": "Gadget", "metadata": {"name": name}, "spec": spec}


async def test_a_definition_is_established(api: Api, gadgets: str) -> None:
    async def established() -> bool:
        status = (await api.get(f"{DEFINITIONS}/gadgets.{gadgets}")).body["status"]
        return {each["type"]: each["status"] for each in status["conditions"] or []} == {
            "NamesAccepted": "True",
            "Established": "True",
        }

    await eventually(established)
    status = (await api.get(f"{DEFINITIONS}/gadgets.{gadgets}")).body["status"]
    assert status["acceptedNames"]["listKind"] == "GadgetList"
    assert status["storedVersions"] == ["v1"]


async def test_a_changed_schema_takes_effect(api: Api, gadgets: str, namespace: str) -> None:
    path = f"/apis/{gadgets}/v1/namespaces/{namespace}/gadgets"
    assert "color" not in (await api.post(path, gadget(gadgets, "a", color="red"))).body["spec"]
    change = definition(gadgets, root(properties={"color": {"type": "string", "default": "blue"}}), "gadgets")
    versions = {"spec": {"versions": change["spec"]["versions"]}}
    assert (await api.patch(f"{DEFINITIONS}/gadgets.{gadgets}", versions)).status == 200
    names = iter(range(100))

    async def defaulted() -> bool:
        reply = await api.post(path, gadget(gadgets, f"b{next(names)}"))
        return reply.body["spec"].get("color") == "blue"

    await eventually(defaulted)


async def test_what_was_stored_before_is_read_with_the_defaults_of_a_newer_schema(
    api: Api, gadgets: str, namespace: str
) -> None:
    path = f"/apis/{gadgets}/v1/namespaces/{namespace}/gadgets"
    before = (await api.post(path, gadget(gadgets, "g", size=1))).metadata
    newer = root(properties={"color": {"type": "string", "default": "blue"}, "size": {"type": "integer"}})
    await change_schema(api, gadgets, newer)

    async def spec() -> Any:
        return (await api.get(f"{path}/g")).body["spec"]

    async def has_default() -> bool:
        return bool(await spec() == {"size": 1, "color": "blue"})

    await eventually(has_default)
    assert (await api.get(path)).body["items"][0]["spec"]["color"] == "blue"
    assert (await api.get(f"{path}/g")).metadata["resourceVersion"] == before["resourceVersion"], "it was not written"
    async with api.watch(path) as watch:
        assert (await watch.next())[1]["spec"]["color"] == "blue"


async def test_what_was_stored_before_is_read_without_what_a_newer_schema_does_not_know(
    api: Api, gadgets: str, namespace: str
) -> None:
    path = f"/apis/{gadgets}/v1/namespaces/{namespace}/gadgets"
    await change_schema(api, gadgets, root(properties={"size": {"type": "integer"}, "color": OPEN}))

    async def made() -> bool:
        if "color" in (await api.post(path, gadget(gadgets, "g", size=1, color={"red": 1}))).body["spec"]:
            return True
        await api.delete(f"{path}/g")  # the schema before has taken it
        return False

    await eventually(made)
    await change_schema(api, gadgets, root(properties={"color": {"type": "string"}}))

    async def is_pruned() -> bool:
        return bool((await api.get(f"{path}/g")).body["spec"] == {"color": {}})

    await eventually(is_pruned)


async def change_schema(api: Api, group: str, schema: dict[str, Any]) -> None:
    change = definition(group, schema, "gadgets")
    versions = {"spec": {"versions": change["spec"]["versions"]}}
    assert (await api.patch(f"{DEFINITIONS}/gadgets.{group}", versions)).status == 200


async def test_a_field_may_be_named_as_quantities_are_elsewhere(api: Api, gadgets: str) -> None:
    limits = {"type": "object", "maxProperties": 3, "additionalProperties": {"type": "string"}}
    await change_schema(
        api, gadgets, root(properties={"limits": limits, "capacity": {"type": "integer", "minimum": 1}})
    )
    schema = (await api.get(f"{DEFINITIONS}/gadgets.{gadgets}")).body["spec"]["versions"][0]["schema"]
    fields = schema["openAPIV3Schema"]["properties"]["spec"]["properties"]
    assert (fields["limits"]["maxProperties"], fields["capacity"]["minimum"]) == (3, 1)


async def test_a_removed_definition_takes_its_objects_along(api: Api, gadgets: str, namespace: str) -> None:
    path = f"/apis/{gadgets}/v1/namespaces/{namespace}/gadgets"
    await api.post(path, gadget(gadgets))
    start = (await api.get(path)).metadata["resourceVersion"]
    async with api.watch(path, f"resourceVersion={start}&timeoutSeconds=30") as watch:
        assert (await api.delete(f"{DEFINITIONS}/gadgets.{gadgets}")).status == 200
        assert (await watch.next())[0] == "DELETED"

    async def gone() -> bool:
        return (await api.get(f"{DEFINITIONS}/gadgets.{gadgets}")).status == 404

    await eventually(gone)


async def test_a_removed_definition_waits_for_finalizers(api: Api, gadgets: str, namespace: str) -> None:
    path = f"/apis/{gadgets}/v1/namespaces/{namespace}/gadgets"
    held = gadget(gadgets)
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await api.post(path, held)
    await api.delete(f"{DEFINITIONS}/gadgets.{gadgets}")

    async def being_deleted() -> bool:
        return "deletionTimestamp" in (await api.get(f"{path}/g")).metadata

    await eventually(being_deleted)
    assert (await api.get(f"{DEFINITIONS}/gadgets.{gadgets}")).status == 200
    await api.patch(f"{path}/g", {"metadata": {"finalizers": None}})

    async def gone() -> bool:
        return (await api.get(f"{DEFINITIONS}/gadgets.{gadgets}")).status == 404

    await eventually(gone)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (
            root(properties={"x": {}}),
            "properties[x].type: Required value: must not be empty for specified object fields",
        ),
        (root(properties={"x": {"type": "strange"}}), 'Unsupported value: "strange"'),
        (root(properties={"x": {"type": "array"}}), "properties[x].items: Required value"),
        (root(properties={"x": {"type": "string"}}, additionalProperties=False), "mutual exclusive"),
        (root(properties={"x": {"type": "string"}}, additionalProperties={"type": "string"}), "mutual exclusive"),
        (
            root(**{"x-kubernetes-validations": [{"rule": "self.size >"}]}),
            "x-kubernetes-validations[0].rule: Invalid value",
        ),
        (
            root(properties={"x": {"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}}}),
            "x-kubernetes-list-map-keys: Required value",
        ),
    ],
)
async def test_a_schema_that_is_not_structural_is_refused(api: Api, schema: dict[str, Any], text: str) -> None:
    reply = await api.post(DEFINITIONS, definition(f"{unique('bad')}.example.com", schema))
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert text in reply.message


def leaf(**schema: Any) -> dict[str, Any]:
    return root(properties={"a": schema})


def ruled(**rule: Any) -> dict[str, Any]:
    return leaf(type="string", maxLength=5, **{"x-kubernetes-validations": [{"rule": "self != ''", **rule}]})


LEAF = "spec.validation.openAPIV3Schema.properties[spec].properties[a]"
RULE = f"{LEAF}.x-kubernetes-validations[0]"


@pytest.mark.parametrize(
    ("schema", "field", "reason"),
    [
        (leaf(type="integer", default="x"), f"{LEAF}.default", "FieldValueTypeInvalid"),
        (leaf(type="integer", default=0, minimum=1), f"{LEAF}.default", "FieldValueInvalid"),
        (leaf(type="string", pattern="(?=a)"), f"{LEAF}.pattern", "FieldValueInvalid"),
        (leaf(type="string", pattern="("), f"{LEAF}.pattern", "FieldValueInvalid"),
        (
            leaf(type="array", items={"type": "object"}, **{"x-kubernetes-list-type": "set"}),
            f"{LEAF}.items.x-kubernetes-map-type",
            "FieldValueInvalid",
        ),
        (ruled(message="a\nb"), f"{RULE}.message", "FieldValueInvalid"),
        (ruled(rule="self != ''\n&& true"), f"{RULE}.message", "FieldValueRequired"),
        (ruled(reason="Whatever"), f"{RULE}.reason", "FieldValueNotSupported"),
    ],
)
async def test_a_schema_that_contradicts_itself_is_refused(
    api: Api, schema: dict[str, Any], field: str, reason: str
) -> None:
    reply = await api.post(DEFINITIONS, definition(f"{unique('bad')}.example.com", schema))
    assert (reply.status, reply.causes) == (422, [(field, reason)])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (
            {"additionalPrinterColumns": [{"name": "X", "type": "text", "jsonPath": ".spec"}]},
            "spec.additionalPrinterColumns[0].type",
        ),
        (
            {"additionalPrinterColumns": [{"name": "X", "type": "string", "jsonPath": "spec"}]},
            "spec.additionalPrinterColumns[0].JSONPath",
        ),
        (
            {"subresources": {"scale": {"specReplicasPath": "spec.n", "statusReplicasPath": ".status.n"}}},
            "spec.subresources.scale.specReplicasPath",
        ),
    ],
)
async def test_columns_and_scale_point_into_the_object(api: Api, change: dict[str, Any], field: str) -> None:
    body = definition(f"{unique('bad')}.example.com", root())
    body["spec"]["versions"][0] |= change
    reply = await api.post(DEFINITIONS, body)
    assert reply.status == 422
    assert (field, "FieldValueInvalid") in reply.causes


async def test_no_two_versions_have_the_same_name(api: Api) -> None:
    body = definition(f"{unique('bad')}.example.com", root())
    body["spec"]["versions"].append({**body["spec"]["versions"][0], "storage": False})
    reply = await api.post(DEFINITIONS, body)
    assert (reply.status, reply.causes) == (422, [("spec.versions", "FieldValueInvalid")])


async def test_what_is_served_keeps_its_kind(api: Api, gadgets: str) -> None:
    reply = await api.patch(f"{DEFINITIONS}/gadgets.{gadgets}", {"spec": {"names": {"kind": "Gizmo"}}})
    assert (reply.status, reply.causes) == (422, [("spec.names.kind", "FieldValueInvalid")])


async def test_a_definition_is_named_after_what_it_defines(api: Api) -> None:
    body = definition("named.example.com", OPEN)
    body["metadata"]["name"] = "other.named.example.com"
    reply = await api.post(DEFINITIONS, body)
    assert 'must be spec.names.plural+"."+spec.group' in reply.message
