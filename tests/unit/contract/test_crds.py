"""What a real API server demands of a structural schema, and what the contract promises of ours."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from protoqueue_operator.api.v1alpha1 import pod_template
from protoqueue_operator.api.v1alpha1.crd import crds

ROOT = Path(__file__).parents[3]
SCHEMA_FILE = Path(pod_template.__file__).with_suffix(".json")

SCHEMAS = {
    plural: definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for plural, definition in crds().items()
}


def nodes(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


TEMPLATE = "consumergroups.spec.worker.template"
ALL = [node for plural, schema in SCHEMAS.items() for node in nodes(schema, plural)]
FIELDS = [(path, schema) for path, schema in ALL if ".spec" in path or ".status" in path]


def test_every_node_is_structural() -> None:
    for path, schema in ALL:
        assert not {"$ref", "$defs", "title", "const", "nullable"} & schema.keys(), path
        assert "type" in schema or schema.get("x-kubernetes-int-or-string") is True, path
        if schema.get("type") == "object":
            assert "properties" in schema or "additionalProperties" in schema or path.endswith("s.metadata"), path
        if schema.get("type") == "array":
            assert schema["items"], path


def test_nothing_in_an_object_is_without_a_bound() -> None:
    """What is not bounded ends who reads it: the operator by its depth, the API server by what it stored of it."""
    for path, schema in ALL:
        assert "x-kubernetes-preserve-unknown-fields" not in schema, path
        if schema.get("type") == "string" or schema.get("x-kubernetes-int-or-string"):
            assert {"maxLength", "enum", "format"} & schema.keys() or path.endswith((".apiVersion", ".kind")), path
        if schema.get("type") == "array":
            assert "maxItems" in schema, path
        if "additionalProperties" in schema:
            assert "maxProperties" in schema, path
    assert max(path.count(".") + path.count("[]") + path.count("{}") for path, _ in ALL) < 24


def test_every_field_explains_itself() -> None:
    for path, schema in FIELDS:
        if not path.startswith(f"{TEMPLATE}."):
            assert schema.get("description") or path.endswith("[]"), path


def test_explain_goes_on_in_the_pod_template() -> None:
    known = dict(ALL)
    for path in ("spec.containers", "spec.containers[].env", "spec.containers[].resources.limits", "metadata.labels"):
        assert known[f"{TEMPLATE}.{path}"]["description"], path


def test_a_definition_can_be_applied_by_the_client() -> None:
    """Which keeps a copy of it in an annotation; all annotations together hold 256 KiB."""
    for definition in crds().values():
        assert len(json.dumps(definition, separators=(",", ":"))) < 200 * 1024


def test_the_schema_of_a_pod_template_is_the_one_that_kubernetes_publishes(tmp_path: Path) -> None:
    made = tmp_path / "pod_template.json"
    subprocess.run([sys.executable, ROOT / "hack/pod_template.py", made], check=True)
    assert made.read_bytes() == SCHEMA_FILE.read_bytes(), "stale: make crds"


def test_lists_that_are_edited_item_by_item_are_maps() -> None:
    spec = SCHEMAS["queues"]["properties"]["spec"]["properties"]
    assert spec["schedules"]["x-kubernetes-list-map-keys"] == ["name"]
    for schema in SCHEMAS.values():
        assert schema["properties"]["status"]["properties"]["conditions"]["x-kubernetes-list-type"] == "map"


def test_a_condition_has_all_that_kubernetes_asks_of_one() -> None:
    for schema in SCHEMAS.values():
        condition = schema["properties"]["status"]["properties"]["conditions"]["items"]
        assert set(condition["required"]) == {"type", "status", "reason", "message", "lastTransitionTime"}


def test_priority_levels_have_no_default_so_that_ordering_can_go_without() -> None:
    assert "default" not in SCHEMAS["queues"]["properties"]["spec"]["properties"]["priorityLevels"]


def test_replicas_have_no_default_which_would_end_workers_when_autoscale_is_removed() -> None:
    """The API server lists a default among the creator's fields: nothing tells it from a size that was stated."""
    assert "default" not in SCHEMAS["consumergroups"]["properties"]["spec"]["properties"]["replicas"]


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
