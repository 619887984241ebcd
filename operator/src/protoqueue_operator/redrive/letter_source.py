"""Reading the dead letters of a Redrive, in the order in which they died, ahead of those being moved."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from protoqueue.aio import cancel
from protoqueue_operator.api.v1alpha1.redrive import RedriveFilter
from protoqueue_operator.jetstream.stream_reader import StreamReader
from protoqueue_operator.redrive.checkpoints import Place
from protoqueue_operator.redrive.letters import DeadLetter, parse
from protoqueue_operator.redrive.plan import MOST_AT_ONCE, looks_into_headers, matches

_WITHOUT_PAUSE = 200
"""How many letters are parsed before other work of the process gets its turn."""


class LetterSource:
    """Reads up to a sequence. Every method but `close` raises BrokerUnavailable and BrokerRefused."""

    def __init__(
        self,
        place: Place,
        subject: str,
        wanted: RedriveFilter | None,
        prepare: Callable[[Sequence[DeadLetter]], Awaitable[None]] | None = None,
    ) -> None:
        """`prepare` is awaited with letters that match, while others are being moved."""
        self.letters: deque[DeadLetter] = deque()
        """The letters that were read and match."""
        self.is_exhausted = False
        """Whether there are no others."""
        self._place = place
        self._subject = subject
        self._wanted = wanted
        self._prepare = prepare
        self._last = 0
        self._passes_over = False
        self._reader: StreamReader | None = None
        self._reading: asyncio.Task[tuple[list[DeadLetter], bool]] | None = None

    async def open(self, first: int, last: int) -> None:
        """Start at one sequence and end at another."""
        await self.close()
        self.letters.clear()
        self._last, self._passes_over = last, False
        reader = StreamReader(self._place.broker.jetstream, self._place.queue.name.dead_letter_stream, self._subject)
        self.is_exhausted = await reader.open(first) is None
        self._reader = reader

    async def close(self) -> None:
        """Raises nothing."""
        reading, self._reading = self._reading, None
        if reading:
            await cancel(reading)
        reader, self._reader = self._reader, None
        if reader:
            await reader.close()

    @property
    def is_open(self) -> bool:
        return self._reader is not None

    async def fill(self) -> None:
        """Read until there is a letter, or the end."""
        while not self.letters and not self.is_exhausted:
            await self.more()

    async def more(self) -> None:
        """Read the next ones, of which none may match."""
        self.read_ahead()
        reading, self._reading = self._reading, None
        if reading:
            found, self.is_exhausted = await reading
            self.letters += found

    def read_ahead(self) -> None:
        """Start reading the next ones."""
        if self._reading is None and not self.is_exhausted and self._reader:
            self._reading = asyncio.create_task(self._read(self._reader), name="redrive reading")

    async def _read(self, reader: StreamReader) -> tuple[list[DeadLetter], bool]:
        """The next that match, and whether there are no more."""
        stored = await reader.read(MOST_AT_ONCE)
        name, with_reason = self._place.queue.name, looks_into_headers(self._wanted)
        found = []
        for first in range(0, len(stored), _WITHOUT_PAUSE):
            some = []
            for each in stored[first : first + _WITHOUT_PAUSE]:
                dead = parse(each, name, with_reason=with_reason)
                if each.sequence > self._last or not matches(dead.letter, self._wanted):
                    self._passes_over = True
                    continue
                dead.follows_others = self._passes_over
                some.append(dead)
            if self._prepare:
                await self._prepare(some)
            found += some
            await asyncio.sleep(0)
        return found, not stored or stored[-1].sequence >= self._last
