"""The table that `protoqueue up` shows: one row per queue."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from protoqueue_devcluster.kube.client import Object
from protoqueue_devcluster.manifests import unready_reason


@dataclass(frozen=True, order=True)
class Row:
    """A queue and its groups; counts are None until the operator has reported them."""

    queue: str
    waiting: int | None
    in_flight: int | None
    scheduled: int | None
    dead: int | None
    workers: str
    trouble: str | None

    def __str__(self) -> str:
        counts = " ".join(
            f"{name}={'?' if count is None else count}"
            for name, count in (
                ("waiting", self.waiting),
                ("in_flight", self.in_flight),
                ("scheduled", self.scheduled),
                ("dead", self.dead),
            )
        )
        return f"{self.queue} {counts} workers={self.workers}" + (f" ({self.trouble})" if self.trouble else "")


def rows(queues: Iterable[Object], groups: Iterable[Object]) -> list[Row]:
    """One row per Queue with the workers of its ConsumerGroups; what is not Ready says why."""
    by_queue: dict[tuple[str, str], list[Object]] = {}
    for group in groups:
        key = (group["metadata"]["namespace"], group["spec"]["queueRef"]["name"])
        by_queue.setdefault(key, []).append(group)
    result = []
    for queue in queues:
        namespace, name = queue["metadata"]["namespace"], queue["metadata"]["name"]
        own = by_queue.get((namespace, name), [])
        tasks = (queue.get("status") or {}).get("tasks") or {}
        troubles = [reason for obj in (queue, *own) if (reason := unready_reason(obj)) is not None]
        result.append(
            Row(
                f"{namespace}/{name}",
                waiting=tasks.get("waiting"),
                in_flight=tasks.get("inFlight"),
                scheduled=tasks.get("scheduled"),
                dead=tasks.get("dead"),
                workers=_workers(own),
                trouble=troubles[0] if troubles else None,
            )
        )
    return sorted(result, key=lambda row: row.queue)


def _workers(groups: Sequence[Object]) -> str:
    """Observed workers, and the wanted number where it differs."""
    statuses = [group.get("status") or {} for group in groups]
    observed = sum(status.get("replicas") or 0 for status in statuses)
    wanted = sum(status.get("desiredReplicas", status.get("replicas") or 0) for status in statuses)
    return str(observed) if observed == wanted else f"{observed} → {wanted}"


def table(content: Sequence[Row], caption: str) -> Table:
    """The live table."""
    result = Table(caption=caption, caption_justify="left", min_width=72)
    result.add_column("QUEUE", no_wrap=True)
    for name in ("WAITING", "IN FLIGHT", "SCHEDULED", "DEAD", "WORKERS"):
        result.add_column(name, justify="right")
    for row in content:
        counts = ["-" if count is None else str(count) for count in (row.waiting, row.in_flight, row.scheduled)]
        dead = Text("-" if row.dead is None else str(row.dead), style="red" if row.dead else "")
        queue = Text(row.queue)
        if row.trouble:
            queue.append(f"\n{row.trouble}", style="yellow")
        result.add_row(queue, *counts, dead, row.workers)
    return result
