"""What queues and groups are called, and what JetStream calls their streams, consumers and keys.

Nothing else spells such a name out; the other names of the contract are in `subjects`, `buckets`, `consumer_names`,
`message_headers` and `message_ids`. Kubernetes names hold neither `_` nor capitals, and a Queue's name no dots, so
every name here is unambiguous.
"""

import re
from dataclasses import dataclass

from protoqueue.protocol.subjects import QueueSubjects, Slot
from protoqueue.protocol.tokens import token_of

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, order=True)
class QueueName(QueueSubjects):
    """A queue's namespace and name, and what JetStream calls its parts."""

    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> "QueueName":
        """Read `namespace/name`; raises ValueError that says what is wrong."""
        namespace, slash, name = text.partition("/")
        if not slash or not _LABEL.fullmatch(namespace) or not _LABEL.fullmatch(name):
            raise ValueError(f"{text!r} is not a queue name: write <namespace>/<name>, both DNS labels: default/email")
        return cls(namespace, name)

    @classmethod
    def of_stream(cls, stream: str) -> "QueueName | None":
        """The queue of a stream of any kind; None if it is not a queue's."""
        parts = stream.split("_")
        if parts[0] != "PQ" or len(parts) not in (3, 4):
            return None
        return cls(parts[1], parts[2])

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def stream(self) -> str:
        return f"PQ_{self.namespace}_{self.name}"

    @property
    def new_stream(self) -> str:
        """Stores the new tasks of a queue with limits: tasks that come due neither count nor are refused."""
        return f"{self.stream}_NEW"

    @property
    def later_stream(self) -> str:
        """Stores the tasks of an ordered queue that are not yet due."""
        return f"{self.stream}_LATER"

    @property
    def dead_letter_stream(self) -> str:
        return f"{self.stream}_DLQ"

    @property
    def history_stream(self) -> str:
        """Stores the records of finished attempts."""
        return f"{self.stream}_HISTORY"

    @property
    def config_key(self) -> str:
        return f"{self.namespace}.{self.name}"

    @property
    def freed_key(self) -> str:
        """Key in `pq-config` of the freed dedup ids; cannot be a group's, as labels have no `_`."""
        return f"{self.config_key}._freed"

    def samples_key(self, resolution: str, slot: int) -> str:
        """Key in `pq-samples` of a block of the queue's measurements."""
        return f"{self.config_key}.{resolution}.{slot}"


@dataclass(frozen=True, order=True)
class GroupName:
    """A consumer group of a queue."""

    queue: QueueName
    name: str

    @classmethod
    def parse(cls, queue: QueueName, text: str) -> "GroupName":
        """The group of that name; raises ValueError that says what is wrong."""
        if not _LABEL.fullmatch(text):
            raise ValueError(f"{text!r} is not a consumer group name: write a DNS label such as mailers")
        return cls(queue, text)

    def __str__(self) -> str:
        return f"{self.queue}/{self.name}"

    @property
    def config_key(self) -> str:
        return f"{self.queue.config_key}.{self.name}"

    @property
    def consumer_prefix(self) -> str:
        """What every consumer of this group, and no other group's, begins with."""
        return f"{self.name}_"

    @property
    def status_requests(self) -> str:
        """Subject on which the group's workers are asked for their status; no stream stores it."""
        return f"pq.{self.queue.config_key}.workers.{self.name}"

    def level_consumer(self, slot: Slot) -> str:
        return f"{self.name}_p{slot}"

    def unique_consumer(self, slot: Slot) -> str:
        return f"{self.name}_u{slot}"

    def partition_consumer(self, partition: int) -> str:
        return f"{self.name}_o{partition}"

    def done_key(self, task_id: str) -> str:
        """Key in the idempotency ledger."""
        return f"{self.config_key}.{token_of(task_id)}"

    @property
    def seal_key(self) -> str:
        """Key of the secret that seals the group's message ids; has a dot more than that of any finished task."""
        return f"{self.config_key}.seal.key"

    def lease_key(self, delivery: str) -> str:
        """Key of the time to which a delivery's lease was extended; has a dot more than that of any finished task."""
        return f"{self.config_key}.lease.{delivery}"

    def firings_key(self, schedule: str) -> str:
        """Key of the started slots of a schedule; has a dot more than that of any finished task."""
        return f"{self.config_key}.schedule.{schedule}"

    @property
    def throttle_key(self) -> str:
        """Key of the time until which the group starts nothing; has a dot more than that of any finished task."""
        return f"{self.config_key}.throttle.until"

    def started_key(self, place: str) -> str:
        """Key of the mark that the message at a place was started; `*` as group matches every group."""
        return f"{self.config_key}.started.{place}"

    def attempts_key(self, partition: int) -> str:
        """Key of the delivery count of a partition's task; has a dot more than that of any finished task."""
        return f"{self.config_key}.partition.{partition}"

    def delivery_key(self, place: str) -> str:
        """The same for the message at a place, as named by `place_of`, of a queue that is not ordered."""
        return f"{self.config_key}.message.{place}"
