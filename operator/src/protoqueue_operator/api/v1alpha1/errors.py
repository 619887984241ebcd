"""Why a resource cannot be made what it asks for. Each carries the reason its condition shows."""

from typing import ClassVar


class Refusal(Exception):
    """What is asked for stays undone until somebody changes something; asking again sooner would not help."""

    reason: ClassVar[str]

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


class InvalidSpec(Refusal):
    """A field holds what the schema cannot refuse."""

    reason = "InvalidSpec"


class ImmutableField(Refusal):
    """What JetStream cannot change in place; nothing is deleted and re-created behind a user's back."""

    reason = "ImmutableField"


class ForeignAsset(Refusal):
    """Something of that name exists and belongs to somebody else; it is left alone."""

    reason = "ForeignAsset"


class TakenOver(Refusal):
    """A stream that was this Queue's belongs to another of the same name, in another cluster; tried again in time."""

    reason = "TakenOver"


class QueueNotFound(Refusal):
    """The queue a group refers to does not exist, or is on its way out."""

    reason = "QueueNotFound"


class QueueNotReady(Refusal):
    """The queue a group refers to has not been made yet, or is refused itself."""

    reason = "QueueNotReady"


class LevelsGrowing(Refusal):
    """Priority levels were added, and the groups of a Broadcast queue do not all listen to them yet."""

    reason = "LevelsGrowing"


class QueueHasGroup(Refusal):
    """A WorkQueue queue has one group; with a second, each would get a share of the tasks by chance."""

    reason = "QueueHasGroup"


class ScaleTargetTaken(Refusal):
    """Another group sizes the object that `scaleTargetRef` names: two would set its size in turns."""

    reason = "ScaleTargetTaken"


class SecretNotFound(Refusal):
    """The Secret that is to say where NATS is does not exist; looked for again from time to time."""

    reason = "SecretNotFound"


class SecretInvalid(Refusal):
    """The Secret that is to say where NATS is lacks a key or contradicts itself. Messages never hold a value of it."""

    reason = "SecretInvalid"


class Moving(Refusal):
    """The queue is to live in another NATS account, and there may be tasks in the one it is to leave."""

    reason = "Moving"


class BrokerRefused(Refusal):
    """JetStream understood a request and refused it, such as three replicas on one server; asked again with backoff."""

    reason = "NatsRefused"


class QuotaExceeded(BrokerRefused):
    """A limit of the account or the server is used up; asked again with backoff, since room may come."""

    reason = "QuotaExceeded"


class BrokerUnavailable(Exception):
    """NATS did not answer; asked again with backoff, and at once when the connection is back."""

    reason = "NatsUnavailable"


class Unanswered(BrokerUnavailable):
    """There is a connection, and one request was not answered: what was asked for may be on a server that is away."""
