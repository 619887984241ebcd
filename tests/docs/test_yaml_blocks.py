"""Manifests on the pages would be accepted by the API server and by the operator; values by the chart."""

import json
from typing import Any

import jsonschema
import pytest
import yaml

from docs.fences import ROOT, Fence, all_fences
from docs.resources import Manifest, accept

BLOCKS = all_fences("yaml")
CHART = ROOT / "charts/protoqueue"


@pytest.mark.parametrize("fence", BLOCKS, ids=lambda fence: fence.place)
def test_a_manifest_is_accepted(fence: Fence) -> None:
    documents = list(yaml.safe_load_all(fence.text))
    if fence.title == "values.yaml":
        jsonschema.validate(over(yaml.safe_load((CHART / "values.yaml").read_text()), documents[0]), values_schema())
        return
    for document in documents:
        assert {"apiVersion", "kind", "metadata"} <= document.keys(), f"{fence.place}: not a manifest?"
    accept([Manifest(document) for document in documents])


def over(default: Any, value: Any) -> Any:
    """As Helm merges values: maps by key, all else as given."""
    if isinstance(default, dict) and isinstance(value, dict):
        return default | {key: over(default.get(key), item) for key, item in value.items()}
    return value


def values_schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    return schema


def test_an_unknown_field_is_refused() -> None:
    queue = {"apiVersion": "protoqueue.dev/v1alpha1", "kind": "Queue", "metadata": {"name": "x"}}
    with pytest.raises(AssertionError, match=r"spec\.retries"):
        accept([Manifest(queue | {"spec": {"retries": 3}})])
    with pytest.raises(AssertionError, match="exactly one of cron and every"):
        accept([Manifest(queue | {"spec": {"schedules": [{"name": "never"}]}})])
