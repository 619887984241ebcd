"""The progress of a Redrive, stored in one batch with the tasks that it puts back.

Pure. The stream stores both or neither, and accepts a checkpoint only after its predecessor: so it shows reliably which
dead letters were put back, whatever was killed at any time.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

LONGEST_TEXT = 512
"""The maximum length of the stored first failure."""

MOST_RUNS = 250
"""Dead letters that lie apart from each other in one batch of a queue with bounds: the checkpoint has to fit where the
smallest task does."""


@dataclass(frozen=True)
class Checkpoint:
    """Sequences are those of the dead letters' stream."""

    started: datetime
    last: int
    """The sequence of the newest dead letter considered."""
    matched: int
    position: int = 0
    """The sequence of the last one processed."""
    moved: int = 0
    failed: int = 0
    failure: str = ""
    """Why the first failed letter failed."""
    letters: tuple[int, ...] = ()
    """The letters put back with this checkpoint: its reader ensures that they are deleted."""
    leaves_letters: bool = False
    """Whether letters up to the position remain, as they do not match or have failed."""

    def encode(self) -> bytes:
        fields = {
            "started": self.started.isoformat(),
            "last": self.last,
            "matched": self.matched,
            "position": self.position,
            "moved": self.moved,
            "failed": self.failed,
            "failure": self.failure[:LONGEST_TEXT],
            "letters": _runs(self.letters),
            "leaves": self.leaves_letters,
        }
        return json.dumps(fields, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Checkpoint | None":
        """None for data that `encode` did not write."""
        try:
            fields = json.loads(data)
            started = datetime.fromisoformat(fields["started"])
            return cls(
                started=started if started.tzinfo else started.replace(tzinfo=UTC),
                last=int(fields["last"]),
                matched=int(fields["matched"]),
                position=int(fields["position"]),
                moved=int(fields["moved"]),
                failed=int(fields["failed"]),
                failure=str(fields["failure"]),
                letters=tuple(_sequences(fields["letters"])),
                leaves_letters=bool(fields["leaves"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
            return None


def count_runs(sequences: Iterable[int]) -> int:
    """How many runs of consecutive sequences these are, given in order."""
    listed = tuple(sequences)
    return sum(1 for before, after in pairwise(listed) if after != before + 1) + bool(listed)


def _runs(sequences: tuple[int, ...]) -> list[int]:
    """Pairs of the lengths of a gap and of the run that follows, flattened."""
    runs: list[int] = []
    expected = 0
    for sequence in sequences:
        if runs and sequence == expected:
            runs[-1] += 1
        else:
            runs += (sequence - expected, 1)
        expected = sequence + 1
    return runs


def _sequences(runs: list[int]) -> Iterable[int]:
    if sum(runs[1::2]) > 1_000:
        raise ValueError("no batch holds so many")
    sequence = 0
    for gap, count in zip(runs[::2], runs[1::2], strict=True):
        sequence += gap
        yield from range(sequence, sequence + count)
        sequence += count
