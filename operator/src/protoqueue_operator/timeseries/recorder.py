"""Records the sampler's measurements of each queue in JetStream, for its charts.

Nothing waits for this and nothing fails with it: while NATS is away, samples are missing.
"""

import asyncio
import base64
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping

from protoqueue.protocol.samples import COARSE, FINE, UNKNOWN, Resolution
from protoqueue.protocol.v1 import samples_pb2 as pb
from protoqueue_operator.api.v1alpha1.errors import BrokerRefused, BrokerUnavailable
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Queue
from protoqueue_operator.jetstream.broker import Broker
from protoqueue_operator.jetstream.kv import SAMPLES, ensure_bucket, sample_block, samples_of
from protoqueue_operator.timeseries.series import Counts, Progress, Series
from protoqueue_operator.timeseries.store import SeriesStore

logger = logging.getLogger(__name__)

_TURN_S = 0.25
"""How often some of the queues are written: each once in a step."""

WRITTEN_AGAIN_S = 60.0
"""How often an unchanged queue is written."""

_ENSURED_AGAIN_S = 300.0
"""How often the existence of the bucket is checked."""


class Recorder:
    """Of one broker."""

    def __init__(
        self,
        broker: Broker,
        keys: Callable[[], Collection[Key]],
        find: Callable[[Key], Queue | None],
        store: SeriesStore,
        workers: Callable[[Key], tuple[int | None, int | None]],
    ) -> None:
        """`keys` gives the queues that live there, `find` each of these as long as it does.

        `workers` gives how many of a queue's are to be there and are available.
        """
        self._broker = broker
        self._keys = keys
        self._find = find
        self._store = store
        self._workers = workers
        self._swept: deque[int] = deque(maxlen=2 * FINE.per_block)
        self._written: dict[Key, float] = {}
        self._round: list[Key] = []
        self._turn = 0
        self._ensured_at = -_ENSURED_AGAIN_S
        self._trouble = ""

    def observe(self, queue: Queue, counts: Counts, groups: Mapping[str, Progress] | None) -> None:
        """Record a sample; see `Series.observe`."""
        if (series := self._store.find(queue)) is not None:
            series.observe(self._store.now(), counts, groups)
        elif queue.meta.deleting_since is None:
            self._written.pop(queue.meta.key, None)
            self._store.begin(queue).observe(self._store.now(), counts, groups)

    def lose_sight(self, queue: Queue) -> None:
        """The queue's contents are currently unknown."""
        if series := self._store.find(queue):
            series.lose_sight()

    def swept(self) -> None:
        """All queues were just read: those without an observation are unchanged."""
        step = int(self._store.now() // FINE.step_s)
        if not self._swept or self._swept[-1] != step:
            self._swept.append(step)

    async def run(self) -> None:
        """Write until cancelled."""
        turns = round(FINE.step_s / _TURN_S)
        while True:
            try:
                await self._take_turn(turns)
                self._trouble = ""
            except (BrokerUnavailable, BrokerRefused) as error:
                if self._trouble != type(error).__name__ and isinstance(error, BrokerRefused):
                    logger.warning("samples not kept: error=%s; charts stay empty, retrying", error)
                self._trouble = type(error).__name__
            except Exception:
                logger.exception("keeping samples failed; retrying")
            await asyncio.sleep(_TURN_S)

    async def _take_turn(self, turns: int) -> None:
        if self._turn == 0:
            self._round = list(self._keys())
            for key in self._written.keys() - set(self._round):
                del self._written[key]
        count = -(-len(self._round) // turns)
        due = self._round[self._turn * count : (self._turn + 1) * count]
        self._turn = (self._turn + 1) % turns
        if due:
            await self._ensure()
        for key in due:
            if queue := self._find(key):
                await self._write(queue)

    async def _ensure(self) -> None:
        if time.monotonic() - self._ensured_at >= _ENSURED_AGAIN_S:
            await ensure_bucket(self._broker.jetstream, SAMPLES, self._broker.configs.replicas)
            self._ensured_at = time.monotonic()

    async def _write(self, queue: Queue) -> None:
        key, series = queue.meta.key, self._store.find(queue)
        if series is None or queue.meta.deleting_since is not None:
            return
        if key not in self._written:
            await self._resume(queue, series)
            self._written[key] = 0.0
        now = self._store.now()
        blocks = series.roll(now, self._swept.__contains__, lambda: self._known(key))
        if series.has_news or (series.fine.index and now - self._written[key] >= WRITTEN_AGAIN_S):
            blocks.append((FINE, series.fine))
        if blocks:
            await self._publish(queue, blocks)
            series.has_news, self._written[key] = False, now

    async def _publish(self, queue: Queue, blocks: Iterable[tuple[Resolution, pb.SampleBlock]]) -> None:
        for resolution, block in blocks:
            _, subject = sample_block(resolution.key(queue.name, block.start))
            await self._broker.connection.publish(subject, block.SerializeToString())

    async def _resume(self, queue: Queue, series: Series) -> None:
        """Load what an earlier operator has recorded."""
        start = series.fine.start
        wanted = [(FINE, start - FINE.block_s), (FINE, start), (COARSE, COARSE.start_of(start))]
        found: dict[Resolution, list[bytes]] = {}
        for resolution, begins in wanted:
            stored = await self._broker.jetstream.last_message(*sample_block(resolution.key(queue.name, begins)))
            if stored is not None:
                found.setdefault(resolution, []).append(base64.b64decode(stored.get("data", "")))
        if series.resume(found):
            await self._broker.jetstream.purge(*samples_of(queue.name))

    def _known(self, key: Key) -> tuple[int, int]:
        desired, available = self._workers(key)
        return UNKNOWN if desired is None else desired, UNKNOWN if available is None else available
