from typing import Any

import pytest
from rich.console import Console

from protoqueue_devcluster.dashboard import Row, rows, table
from protoqueue_devcluster.kube.client import Object
from protoqueue_devcluster.manifests import unready_reason


def resource(name: str, *, ready: str | None = "True", seen: int = 1, **status: Any) -> Object:
    conditions = [{"type": "Ready", "status": ready, "reason": "Why", "message": "because"}] if ready else []
    return {
        "metadata": {"namespace": "default", "name": name, "generation": 1},
        "spec": {"queueRef": {"name": "email"}},
        "status": {"observedGeneration": seen, "conditions": conditions, **status},
    }


def test_a_row_holds_the_queues_tasks_and_its_groups_workers() -> None:
    queue = resource("email", tasks={"waiting": 3, "inFlight": 2, "scheduled": 1, "dead": 0})
    groups = [resource("a", replicas=1, desiredReplicas=3), resource("b", replicas=2, desiredReplicas=2)]
    assert rows([queue], groups) == [Row("default/email", 3, 2, 1, 0, "3 → 5", None)]


def test_what_is_not_ready_says_why() -> None:
    (row,) = rows([resource("email")], [resource("a", ready="False")])
    assert row.trouble == "Why: because"
    assert str(row) == "default/email waiting=? in_flight=? scheduled=? dead=? workers=0 (Why: because)"


@pytest.mark.parametrize(
    ("obj", "reason"),
    [
        (resource("a"), None),
        (resource("a", ready="False"), "Why: because"),
        (resource("a", ready=None), "the operator has not looked at it yet"),
        (resource("a", seen=0), "the operator has not seen the last change yet"),
    ],
)
def test_ready_counts_only_for_the_present_generation(obj: Object, reason: str | None) -> None:
    assert unready_reason(obj) == reason


def test_the_table_shows_unknown_counts_as_dashes() -> None:
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115 - closed with the console
    console.print(table([Row("default/email", None, 0, 0, 2, "1", None)], "caption"))
    text = console.export_text()
    assert all(word in text for word in ("QUEUE", "default/email", "- ", "2", "caption"))
