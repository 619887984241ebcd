"""Manifests on the pages would be accepted by the API server and by the operator; the chart renders values."""

import pytest
import yaml

from chart.pod_security import violations
from chart.rendering import provide_helm, render
from docs.fences import Fence, all_fences
from docs.resources import accept

BLOCKS = all_fences("yaml")


@pytest.mark.parametrize("fence", BLOCKS, ids=lambda fence: fence.place)
def test_a_manifest_is_accepted(fence: Fence) -> None:
    documents = list(yaml.safe_load_all(fence.text))
    if fence.title == "values.yaml":
        provide_helm()
        assert render(documents[0])
        return
    for document in documents:
        assert {"apiVersion", "kind", "metadata"} <= document.keys(), f"{fence.place}: not a manifest?"
    accept(documents)


def test_workers_in_production_are_admitted_where_pod_security_is_restricted() -> None:
    blocks = [fence for fence in BLOCKS if fence.page.name == "production.md"]
    documents = [document for fence in blocks for document in yaml.safe_load_all(fence.text)]
    (group,) = [each for each in documents if each.get("kind") == "ConsumerGroup"]
    assert not violations(group["spec"]["worker"]["template"]["spec"])


def test_an_unknown_field_is_refused() -> None:
    queue = {"apiVersion": "protoqueue.dev/v1alpha1", "kind": "Queue", "metadata": {"name": "x"}}
    with pytest.raises(AssertionError, match=r"spec\.retries"):
        accept([queue | {"spec": {"retries": 3}}])
    with pytest.raises(AssertionError, match="exactly one of cron and every"):
        accept([queue | {"spec": {"schedules": [{"name": "never"}]}}])
