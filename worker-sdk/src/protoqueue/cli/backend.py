"""What commands work on: a queue in NATS, as the SDK's client has it, or one behind a gateway."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from protoqueue.admin.all_queues import QueueOverview
from protoqueue.admin.samples import QueueSamples
from protoqueue.admin.stats import QueueStats
from protoqueue.task import Receipt

if TYPE_CHECKING:
    from protoqueue.admin.dead_letters import DeadLetter
    from protoqueue.cli.gateway import GatewayLetter


Letter: TypeAlias = "DeadLetter | GatewayLetter"


class TargetQueue(Protocol):
    """What of `protoqueue.Queue` commands use that go to a gateway too; the methods mean what they mean there."""

    @property
    def name(self) -> str: ...
    @property
    def dead_letter_queue(self) -> str | None: ...

    async def enqueue_batch(self, items: Iterable[Any]) -> Sequence[Receipt]: ...
    async def stats(self) -> QueueStats: ...
    async def purge(self, *, scheduled: bool = False) -> int: ...
    async def cancel(self, task_id: str, *, timeout: float = ...) -> bool: ...
    async def samples(self, since: float = ...) -> QueueSamples: ...
    def dead_letters(self, *, group: str | None = None) -> AsyncIterator[Letter]: ...
    async def redrive(
        self,
        *,
        limit: int | None = None,
        rate: float | None = None,
        group: str | None = None,
        type: str | None = None,  # noqa: A002
        reason: str | None = None,
    ) -> int: ...


class TargetClient(Protocol):
    """What of `protoqueue.Client` they use."""

    async def queue(self, name: str) -> TargetQueue: ...
    async def queue_names(self) -> list[str]: ...
    async def overview(self) -> Mapping[str, QueueOverview]: ...
