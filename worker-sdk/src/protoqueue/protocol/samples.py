"""How a queue's measurements over time are laid out in the bucket `pq-samples`: in blocks, each in one of few slots."""

from dataclasses import dataclass

from protoqueue.protocol.names import QueueName

UNKNOWN = -1
"""In a column: no value, or an unknown one."""


@dataclass(frozen=True)
class Resolution:
    """Steps of one length. A block begins at a multiple of its own length since the Unix epoch."""

    name: str
    step_s: int
    per_block: int
    """Steps in a block."""
    kept_s: int
    """The minimum time for which samples are kept."""

    @property
    def block_s(self) -> int:
        return self.step_s * self.per_block

    @property
    def slots(self) -> int:
        """How many blocks are kept: the one being written, and those needed to cover the retention."""
        return -(-self.kept_s // self.block_s) + 1

    def start_of(self, at_s: float) -> int:
        """When the block that contains a time begins, in seconds since the Unix epoch."""
        return int(at_s // self.block_s) * self.block_s

    def key(self, queue: QueueName, start: int) -> str:
        """The slot of the block that begins at that time."""
        return queue.samples_key(self.name, start // self.block_s % self.slots)


FINE = Resolution("10s", step_s=10, per_block=30, kept_s=3600)
COARSE = Resolution("5m", step_s=300, per_block=24, kept_s=86_400)
