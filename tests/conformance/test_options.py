"""Options of requests: which are refused, and as what."""

from typing import Any

import pytest

from conformance.kubeapi import APPLY, MERGE, Api
from conformance.widgets import Widgets

FORBIDDEN, UNSUPPORTED = "FieldValueForbidden", "FieldValueNotSupported"


@pytest.mark.parametrize(
    ("query", "causes"),
    [
        ("dryRun=Some", [("dryRun", UNSUPPORTED)]),
        ("fieldValidation=Loose", [("fieldValidation", UNSUPPORTED)]),
        (f"fieldManager={'m' * 129}", [("fieldManager", "FieldValueTooLong")]),
        ("force=true", [("force", FORBIDDEN)]),
        ("dryRun=Some&fieldValidation=Loose", [("dryRun", UNSUPPORTED), ("fieldValidation", UNSUPPORTED)]),
    ],
)
async def test_options_of_a_patch_are_checked(
    api: Api, widgets: Widgets, query: str, causes: list[tuple[str, str]]
) -> None:
    await api.post(widgets.path, widgets.named("one"))
    reply = await api.patch(f"{widgets.at('one')}?{query}", {"spec": {"size": 2}}, MERGE)
    assert (reply.status, reply.causes) == (422, causes)
    assert reply.message.startswith('PatchOptions.meta.k8s.io "" is invalid: ')


async def test_options_are_named_after_what_they_are_of(api: Api, widgets: Widgets) -> None:
    created = await api.post(f"{widgets.path}?dryRun=Some", widgets.named("one"))
    assert created.message == (
        'CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All"'
    )
    replaced = await api.put(f"{widgets.at('one')}?dryRun=Some", widgets.named("one"))
    assert replaced.message.startswith('UpdateOptions.meta.k8s.io "" is invalid: dryRun: ')


async def test_an_apply_says_who_applies(api: Api, widgets: Widgets) -> None:
    reply = await api.request("PATCH", widgets.at("one"), widgets.named("one"), APPLY)
    assert (reply.status, reply.causes) == (422, [("fieldManager", "FieldValueRequired")])


@pytest.mark.parametrize(
    ("options", "field"), [({"propagationPolicy": "Sideways"}, "propagationPolicy"), ({"dryRun": ["Some"]}, "dryRun")]
)
async def test_options_of_a_deletion_are_checked(
    api: Api, widgets: Widgets, options: dict[str, Any], field: str
) -> None:
    await api.post(widgets.path, widgets.named("one"))
    reply = await api.delete(widgets.at("one"), options)
    assert (reply.status, reply.causes) == (422, [(field, UNSUPPORTED)])
    assert (await api.get(widgets.at("one"))).status == 200


@pytest.mark.parametrize(
    ("query", "field", "reason"),
    [
        ("resourceVersionMatch=Exact", "resourceVersionMatch", FORBIDDEN),
        ("resourceVersionMatch=About&resourceVersion=5", "resourceVersionMatch", UNSUPPORTED),
        ("sendInitialEvents=true", "sendInitialEvents", FORBIDDEN),
        ("watch=true&sendInitialEvents=true", "resourceVersionMatch", FORBIDDEN),
        ("watch=true&resourceVersionMatch=NotOlderThan", "resourceVersionMatch", FORBIDDEN),
    ],
)
async def test_options_of_a_list_are_checked(api: Api, widgets: Widgets, query: str, field: str, reason: str) -> None:
    reply = await api.get(f"{widgets.path}?{query}")
    assert (reply.status, reply.causes) == (422, [(field, reason)])
    assert reply.message.startswith('ListOptions.meta.k8s.io "" is invalid: ')


@pytest.mark.parametrize("path", ["", "/one"])
async def test_a_version_that_is_yet_to_come_times_out(api: Api, namespace: str, path: str) -> None:
    maps = f"/api/v1/namespaces/{namespace}/configmaps"
    await api.post(maps, {"metadata": {"name": "one"}})
    reply = await api.get(f"{maps}{path}?resourceVersion=9{'0' * 17}")
    assert (reply.status, reply.reason) == (504, "Timeout")
    assert "Too large resource version" in reply.message
