"""Creating objects: identity, defaults, unknown fields, names."""

import re

from conformance.kubeapi import Api
from conformance.widgets import Widgets


async def test_a_new_object_gets_identity_defaults_and_a_first_generation(api: Api, widgets: Widgets) -> None:
    reply = await api.post(widgets.path, widgets.named("one", size=3))
    assert reply.status == 201
    assert reply.body["spec"] == {"size": 3, "mode": "A", "retry": {"attempts": 5}}
    assert reply.metadata["generation"] == 1
    assert reply.metadata["namespace"] == widgets.namespace
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", reply.metadata["creationTimestamp"])
    assert len(reply.metadata["uid"]) == 36
    assert reply.metadata["resourceVersion"].isdigit()


async def test_the_creator_owns_what_it_wrote_and_what_was_defaulted(api: Api, widgets: Widgets) -> None:
    reply = await api.post(widgets.path, widgets.named("one", {"finalizers": ["example.com/f"]}, size=3))
    (entry,) = reply.metadata["managedFields"]
    assert (entry["manager"], entry["operation"], entry["apiVersion"]) == (
        "conformance",
        "Update",
        f"{widgets.group}/v1",
    )
    assert entry["fieldsV1"] == {
        "f:metadata": {"f:finalizers": {".": {}, 'v:"example.com/f"': {}}},
        "f:spec": {".": {}, "f:mode": {}, "f:retry": {".": {}, "f:attempts": {}}, "f:size": {}},
    }
    await api.patch(widgets.at("one"), {"metadata": {"finalizers": None}})


async def test_unknown_fields_are_dropped_with_a_warning(api: Api, widgets: Widgets) -> None:
    reply = await api.post(widgets.path, widgets.named("one", size=3, bogus=1))
    assert reply.status == 201
    assert "bogus" not in reply.body["spec"]
    assert any('unknown field \\"spec.bogus\\"' in warning for warning in reply.warnings)


async def test_unknown_fields_are_dropped_silently_if_so_asked(api: Api, widgets: Widgets) -> None:
    reply = await api.post(f"{widgets.path}?fieldValidation=Ignore", widgets.named("one", bogus=1))
    assert reply.status == 201
    assert reply.warnings == ()


async def test_strict_validation_refuses_unknown_fields(api: Api, widgets: Widgets) -> None:
    reply = await api.post(f"{widgets.path}?fieldValidation=Strict", widgets.named("one", size=3, bogus=1))
    assert (reply.status, reply.reason) == (400, "BadRequest")
    assert reply.message == (
        'Widget in version "v1" cannot be handled as a Widget: strict decoding error: unknown field "spec.bogus"'
    )


async def test_fields_are_kept_where_the_schema_preserves_unknown_ones(api: Api, widgets: Widgets) -> None:
    reply = await api.post(widgets.path, widgets.named("one", free={"any": [{"thing": 1}]}, notes={"a": "b"}))
    assert reply.body["spec"]["free"] == {"any": [{"thing": 1}]}
    assert reply.body["spec"]["notes"] == {"a": "b"}


async def test_a_status_in_a_new_object_is_ignored(api: Api, widgets: Widgets) -> None:
    reply = await api.post(widgets.path, {**widgets.named("one"), "status": {"replicas": 3}})
    assert "status" not in reply.body


async def test_null_where_the_schema_has_a_default_counts_as_missing(api: Api, widgets: Widgets) -> None:
    reply = await api.post(widgets.path, widgets.named("one", mode=None))
    assert reply.body["spec"]["mode"] == "A"


async def test_a_name_is_made_from_generate_name(api: Api, widgets: Widgets) -> None:
    body = widgets.named("x")
    body["metadata"] = {"generateName": "gen-"}
    first, second = await api.post(widgets.path, body), await api.post(widgets.path, body)
    assert re.fullmatch(r"gen-[a-z0-9]{5}", first.metadata["name"])
    assert first.metadata["name"] != second.metadata["name"]


async def test_a_name_is_required(api: Api, widgets: Widgets) -> None:
    body = widgets.named("x")
    body["metadata"] = {}
    reply = await api.post(widgets.path, body)
    assert reply.status == 422
    assert "name or generateName is required" in reply.message


async def test_the_same_name_again_already_exists(api: Api, widgets: Widgets) -> None:
    await api.post(widgets.path, widgets.named("one"))
    reply = await api.post(widgets.path, widgets.named("one"))
    assert (reply.status, reply.reason) == (409, "AlreadyExists")
    assert reply.message == f'widgets.{widgets.group} "one" already exists'
    assert reply.body["details"] == {"name": "one", "group": widgets.group, "kind": "widgets"}


async def test_a_name_that_is_no_dns_name_is_invalid(api: Api, widgets: Widgets) -> None:
    reply = await api.post(widgets.path, widgets.named("Not_A_Name"))
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert reply.causes == [("metadata.name", "FieldValueInvalid")]
    assert "a lowercase RFC 1123 subdomain must consist of" in reply.message


async def test_a_label_that_is_none_is_invalid(api: Api, widgets: Widgets) -> None:
    reply = await api.post(widgets.path, widgets.named("one", {"labels": {"a": "not a label"}}))
    assert (reply.status, reply.reason) == (422, "Invalid")
    assert reply.causes == [("metadata.labels", "FieldValueInvalid")]


async def test_a_namespace_that_does_not_exist_is_not_found(api: Api, group: str) -> None:
    elsewhere = Widgets(group, "no-such-namespace")
    reply = await api.post(elsewhere.path, elsewhere.named("one"))
    assert (reply.status, reply.reason) == (404, "NotFound")
    assert reply.message == 'namespaces "no-such-namespace" not found'


async def test_a_dry_run_answers_and_stores_nothing(api: Api, widgets: Widgets) -> None:
    reply = await api.post(f"{widgets.path}?dryRun=All", widgets.named("one"))
    assert reply.status == 201
    assert reply.body["spec"]["mode"] == "A"
    assert (await api.get(widgets.at("one"))).status == 404


async def test_a_resource_version_is_refused_on_create(api: Api, widgets: Widgets) -> None:
    reply = await api.post(widgets.path, widgets.named("one", {"resourceVersion": "1"}))
    assert reply.message == "resourceVersion should not be set on objects to be created"
