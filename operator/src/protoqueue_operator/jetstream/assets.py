"""Streams and consumers as values, for comparison with those that the server reports.

The server answers with more than it was given (defaults, `_nats.*` metadata); only what is stated here is compared, so
what an administrator adds beside it (a placement, a compression) is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from protoqueue_operator.api.v1alpha1.meta import Key, Meta

PAUSED_UNTIL = "2200-01-01T00:00:00Z"
"""JetStream pauses a consumer until a time; this one means for ever. 64 bits of nanoseconds end in 2262."""

MAX_WAITING_PULLS = 4096
"""Pull requests one consumer holds: a few for each worker process. Cannot be changed on an existing consumer."""

UNLIMITED = -1

OWNER_METADATA = "protoqueue.dev/owner"
"""On every stream and consumer the operator owns; its value is `<kind>/<namespace>/<name>/<uid>`."""

SHAPE_METADATA = "protoqueue.dev/shape"
"""On a queue's stream: for which levels or partitions its tasks were stored, for a Queue that takes it over."""

NAMESPACE_METADATA = "protoqueue.dev/namespace-uid"
"""On every stream: a namespace recreated under the same name may belong to another tenant."""


@dataclass(frozen=True)
class Owner:
    """The owner of an asset, as stated in its metadata."""

    kind: str
    namespace: str
    name: str
    uid: str

    @classmethod
    def of(cls, meta: Meta) -> "Owner":
        return cls(meta.key.kind, meta.namespace, meta.name, meta.uid)

    @classmethod
    def parse(cls, text: str | None) -> "Owner | None":
        parts = (text or "").split("/")
        return cls(*parts) if len(parts) == 4 else None

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}/{self.uid}"

    @property
    def key(self) -> Key:
        return Key(self.kind, self.namespace, self.name)


@dataclass(frozen=True)
class Source:
    stream: str
    transform: tuple[str, str]


@dataclass(frozen=True)
class Stream:
    """The part of a stream's configuration that the operator decides."""

    name: str
    owner: Owner | None
    subjects: tuple[str, ...]
    retention: str
    storage: str
    replicas: int
    max_age: timedelta = timedelta(0)
    max_msgs: int = UNLIMITED
    max_bytes: int = UNLIMITED
    max_msg_size: int = UNLIMITED
    discard: str = "old"
    duplicate_window: timedelta = timedelta(minutes=2)
    allow_msg_ttl: bool = False
    allow_msg_schedules: bool = False
    allow_atomic: bool = False
    allow_direct: bool = False
    """Whether clients may read many messages by one request, from any replica."""
    source: Source | None = None
    shape: str = ""
    """Such as `levels=3` or `partitions=16`."""
    namespace_uid: str = ""
    """The uid of its owner's namespace; empty if unknown."""

    def config(self) -> dict[str, Any]:
        """As `$JS.API.STREAM.CREATE` takes it."""
        config: dict[str, Any] = {
            "name": self.name,
            "subjects": list(self.subjects),
            "retention": self.retention,
            "storage": self.storage,
            "num_replicas": self.replicas,
            "max_age": nanoseconds(self.max_age),
            "max_msgs": self.max_msgs,
            "max_bytes": self.max_bytes,
            "max_msg_size": self.max_msg_size,
            "discard": self.discard,
            "duplicate_window": nanoseconds(self.duplicate_window),
            "allow_msg_ttl": self.allow_msg_ttl,
            "allow_msg_schedules": self.allow_msg_schedules,
            "allow_atomic": self.allow_atomic,
            "allow_direct": self.allow_direct,
            "metadata": {OWNER_METADATA: str(self.owner)} if self.owner else {},
        }
        if self.shape:
            config["metadata"][SHAPE_METADATA] = self.shape
        if self.namespace_uid:
            config["metadata"][NAMESPACE_METADATA] = self.namespace_uid
        config["sources"] = []  # stated, so that an update removes it
        if self.source:
            source, destination = self.source.transform
            config["sources"].append(
                {"name": self.source.stream, "subject_transforms": [{"src": source, "dest": destination}]}
            )
        return config

    @classmethod
    def observed(cls, config: Mapping[str, Any]) -> "Stream":
        """The part of the server's configuration that is compared."""
        return cls(
            name=config["name"],
            owner=Owner.parse((config.get("metadata") or {}).get(OWNER_METADATA)),
            subjects=tuple(config.get("subjects") or ()),
            retention=config["retention"],
            storage=config["storage"],
            replicas=config["num_replicas"],
            max_age=_duration(config.get("max_age", 0)),
            max_msgs=config.get("max_msgs", UNLIMITED),
            max_bytes=config.get("max_bytes", UNLIMITED),
            max_msg_size=config.get("max_msg_size", UNLIMITED),
            discard=config.get("discard", "old"),
            duplicate_window=_duration(config.get("duplicate_window", 0)),
            allow_msg_ttl=config.get("allow_msg_ttl", False),
            allow_msg_schedules=config.get("allow_msg_schedules", False),
            allow_atomic=config.get("allow_atomic", False),
            allow_direct=config.get("allow_direct", False),
            source=_observed_source(config.get("sources") or ()),
            shape=(config.get("metadata") or {}).get(SHAPE_METADATA, ""),
            namespace_uid=(config.get("metadata") or {}).get(NAMESPACE_METADATA, ""),
        )


@dataclass(frozen=True)
class Consumer:
    """The part of a consumer's configuration that the operator decides."""

    stream: str
    name: str
    owner: Owner | None
    filter_subjects: tuple[str, ...]
    ack_wait: timedelta
    max_ack_pending: int
    paused: bool = False
    deliver_policy: str = "all"
    """Where a new consumer starts. Never compared: JetStream reads it only when the consumer is created."""
    moved: bool = False
    """Whether workers move its tasks to the queue's own stream. Never compared: JetStream does not know it."""

    @property
    def place(self) -> tuple[str, str]:
        """Stream and name: consumers of two streams may have the same name."""
        return self.stream, self.name

    def config(self) -> dict[str, Any]:
        """As `$JS.API.CONSUMER.CREATE` takes it, for a new consumer."""
        config: dict[str, Any] = {
            "durable_name": self.name,
            "name": self.name,
            "deliver_policy": self.deliver_policy,
            "ack_policy": "explicit",
            "ack_wait": nanoseconds(self.ack_wait),
            "max_deliver": UNLIMITED,
            "max_ack_pending": self.max_ack_pending,
            "max_waiting": MAX_WAITING_PULLS,
            "metadata": {OWNER_METADATA: str(self.owner)} if self.owner else {},
            "filter_subjects": list(self.filter_subjects),
        }
        if self.paused:
            config["pause_until"] = PAUSED_UNTIL
        return config

    @classmethod
    def observed(cls, info: Mapping[str, Any]) -> "Consumer":
        """The part of the server's consumer information that is compared."""
        config = info["config"]
        return cls(
            stream=info["stream_name"],
            name=info["name"],
            owner=Owner.parse((config.get("metadata") or {}).get(OWNER_METADATA)),
            filter_subjects=tuple(config.get("filter_subjects") or filter(None, [config.get("filter_subject")])),
            ack_wait=_duration(config.get("ack_wait", 0)),
            max_ack_pending=config.get("max_ack_pending", 0),
            paused=bool(info.get("paused")),
            deliver_policy=config.get("deliver_policy", "all"),
        )

    def same_configuration(self, other: "Consumer") -> bool:
        """Whether an update would change nothing; pausing is an action of its own."""
        same = {"deliver_policy": "", "paused": False, "moved": False}
        return replace(self, **same) == replace(other, **same)  # type: ignore[arg-type]


def nanoseconds(duration: timedelta) -> int:
    """As JetStream counts time."""
    return round(duration / timedelta(microseconds=1)) * 1000


def _duration(count_ns: int) -> timedelta:
    return timedelta(microseconds=count_ns // 1000)


def _observed_source(sources: Any) -> Source | None:
    """The one source with one transform that the operator writes; anything else compares as different."""
    if not sources:
        return None
    transforms = sources[0].get("subject_transforms") or [{}]
    if len(sources) > 1 or len(transforms) > 1:
        return Source("", ("", ""))
    return Source(sources[0]["name"], (transforms[0].get("src", ""), transforms[0].get("dest", "")))
