"""What holds a queue up: what `protoqueue why` finds, from what a gateway may see. It asks no pods."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from protoqueue import ProtoQueueError, WorkerStatus
from protoqueue.diagnosis.diagnose import diagnose
from protoqueue.diagnosis.facts import Facts, Finding
from protoqueue.diagnosis.look import Look, groups_of, look_into
from protoqueue.diagnosis.resources import Resource
from protoqueue.protocol.names import QueueName
from protoqueue_gateway.service.connection import Connection
from protoqueue_gateway.service.errors import NoSuchQueue, ServiceError
from protoqueue_gateway.service.fresh import Fresh
from protoqueue_gateway.service.letters import Letters
from protoqueue_gateway.service.live_queues import LiveQueue

_ANSWER_S = 0.5
_LOOK_S = 2.0
_LETTERS_S = 30.0
_MOST_KINDS = 5


@dataclass(frozen=True)
class Diagnosed:
    """The most serious finding first; `workers` are those of each group that answered."""

    findings: tuple[Finding, ...]
    workers: Mapping[str, Sequence[WorkerStatus]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Seen:
    """What NATS tells of a queue; `problem` is why it tells nothing."""

    look: Look | None = None
    dead_letter_queue: str | None = None
    problem: str = ""


class Diagnosis:
    def __init__(self, connection: Connection, letters: Letters) -> None:
        self._connection = connection
        self._letters = letters
        self._looks = Fresh(self._look, _LOOK_S)
        self._kinds = Fresh(self._ask_kinds, _LETTERS_S)

    async def of(self, name: QueueName, found: LiveQueue) -> Diagnosed:
        """Raises nothing: what cannot be asked is a finding, or is left out."""
        seen = await self._looks.get(name)
        inspection = seen.look.inspection if seen.look else None
        stats = inspection.stats if inspection else None
        resources = {str(group["metadata"]["name"]): Resource.read(group) for group in found.groups}
        facts = Facts(
            str(name),
            datetime.now(UTC),
            stats,
            groups_of(seen.look, resources, None),
            Resource.read(found.body),
            arrivals_per_s=found.row.arrivals or 0.0,
            completions_per_s=found.row.completions or 0.0,
            rate_limit=inspection.rate_limits.get("") if inspection else None,
            partitions=inspection.partitions if inspection else (),
            letters=await self._kinds.get((name, stats.dead)) if stats and stats.dead else (),
            dead_letter_queue=seen.dead_letter_queue,
            nats_problem=seen.problem,
            nats_setting="NATS_URL of the gateway",
        )
        return Diagnosed(tuple(diagnose(facts)), seen.look.workers if seen.look else {})

    async def _look(self, name: QueueName) -> _Seen:
        if not self._connection.connected:
            return _Seen(problem="the gateway has no connection to it")
        try:
            queue = await self._connection.queue(name)
            return _Seen(await look_into(queue, _ANSWER_S), queue.dead_letter_queue)
        except NoSuchQueue:  # its condition says why, as where it lives in another account
            return _Seen()
        except (ProtoQueueError, ServiceError) as error:
            return _Seen(problem=str(error))

    async def _ask_kinds(self, key: tuple[QueueName, int]) -> Sequence[Mapping[str, Any]]:
        """By cause; none where NATS cannot be asked. `dead`, of the key, makes it ask anew when that changes."""
        try:
            summary = await self._letters.summary(key[0])
        except (ProtoQueueError, ServiceError):
            return ()
        return [
            {
                "count": kind.count, "reason": kind.filter.reason, "type": kind.filter.type or "",
                "error_type": kind.filter.error_type or "", "error": kind.error, "example": kind.example,
            }
            for kind in summary.kinds[:_MOST_KINDS]
        ]  # fmt: skip
