"""What a real API server demands of a structural schema, and what the contract promises of ours."""

from collections.abc import Iterator
from typing import Any

import pytest

from protoqueue_operator.core.crds import crds

SCHEMAS = {
    plural: definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for plural, definition in crds().items()
}


def nodes(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


ALL = [node for plural, schema in SCHEMAS.items() for node in nodes(schema, plural)]
FIELDS = [(path, schema) for path, schema in ALL if ".spec" in path or ".status" in path]


@pytest.mark.parametrize(("path", "schema"), ALL, ids=[path for path, _ in ALL])
def test_every_node_is_structural(path: str, schema: dict[str, Any]) -> None:
    assert not {"$ref", "$defs", "title", "const", "additionalProperties", "nullable"} & schema.keys()
    assert "type" in schema or schema.get("x-kubernetes-int-or-string") is True
    if schema.get("type") == "object":
        assert "properties" in schema or schema.get("x-kubernetes-preserve-unknown-fields") or path.endswith("metadata")
    if schema.get("type") == "array":
        assert schema["items"]
        assert path.endswith("conditions") or "maxItems" in schema, "CEL's cost estimate needs bounded lists"


@pytest.mark.parametrize(("path", "schema"), FIELDS, ids=[path for path, _ in FIELDS])
def test_every_field_explains_itself(path: str, schema: dict[str, Any]) -> None:
    assert schema.get("description") or path.endswith("[]")


def test_lists_that_are_edited_item_by_item_are_maps() -> None:
    spec = SCHEMAS["queues"]["properties"]["spec"]["properties"]
    assert spec["schedules"]["x-kubernetes-list-map-keys"] == ["name"]
    for schema in SCHEMAS.values():
        assert schema["properties"]["status"]["properties"]["conditions"]["x-kubernetes-list-type"] == "map"


def test_priority_levels_have_no_default_so_that_ordering_can_go_without() -> None:
    assert "default" not in SCHEMAS["queues"]["properties"]["spec"]["properties"]["priorityLevels"]


def test_replicas_have_a_default_since_the_scale_subresource_fails_without() -> None:
    assert SCHEMAS["consumergroups"]["properties"]["spec"]["properties"]["replicas"]["default"] == 1


def test_what_a_group_may_leave_to_its_queue_has_no_default_which_would_be_stored_as_if_stated() -> None:
    of_queue, of_group = (
        SCHEMAS[plural]["properties"]["spec"]["properties"]["retry"]["properties"]
        for plural in ("queues", "consumergroups")
    )
    assert of_group.keys() == of_queue.keys()
    for name, schema in of_group.items():
        assert "default" not in schema
        assert schema["description"].endswith("Default: the Queue's.")
        bounds = {key: value for key, value in of_queue[name].items() if key not in ("default", "description")}
        assert schema == bounds | {"description": schema["description"]}
