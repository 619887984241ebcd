"""Why a resource cannot be made what it asks for. Each error has the reason its condition shows, and when to retry."""

from typing import ClassVar


class Refusal(Exception):
    """What is asked for stays undone. Terminal, until somebody changes something, unless it says when to retry."""

    reason: ClassVar[str]
    retry_s: ClassVar[float | None] = None
    """After how many seconds to look again, where nothing tells that the cause has gone."""
    backs_off: ClassVar[bool] = False
    """Whether to look again with growing pauses."""
    is_error: ClassVar[bool] = True
    """False for a state that passes by itself, and is documented to: metrics do not count it."""

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
    retry_s = 30.0


class TakenOver(Refusal):
    """A stream that was this Queue's belongs to another of the same name, in another cluster; tried again in time."""

    reason = "TakenOver"
    retry_s = 30.0


class QueueNotFound(Refusal):
    """The queue a group refers to does not exist, or is on its way out."""

    reason = "QueueNotFound"


class QueueNotReady(Refusal):
    """The queue a group refers to has not been made yet, or is refused itself."""

    reason = "QueueNotReady"


class DeadLetterQueueNotFound(Refusal):
    """The queue that is to get the dead letters does not exist, or is on its way out."""

    reason = "DeadLetterQueueNotFound"


class DeadLetterQueueNotReady(Refusal):
    """The queue that is to get the dead letters has not been made yet, or is refused itself."""

    reason = "DeadLetterQueueNotReady"
    retry_s = 30.0
    is_error = False


class LevelsGrowing(Refusal):
    """Priority levels were added, and the groups of a Broadcast queue do not all listen to them yet."""

    reason = "LevelsGrowing"
    backs_off = True
    is_error = False


class QueueHasGroup(Refusal):
    """A WorkQueue queue has one group; with a second, each would get a share of the tasks by chance."""

    reason = "QueueHasGroup"


class ScaleTargetTaken(Refusal):
    """Another group sizes the object that `scaleTargetRef` names: two would set its size in turns."""

    reason = "ScaleTargetTaken"
    retry_s = 30.0


class SecretNotFound(Refusal):
    """The Secret that is to say where NATS is does not exist; looked for again from time to time."""

    reason = "SecretNotFound"


class SecretInvalid(Refusal):
    """The Secret that is to say where NATS is lacks a key or contradicts itself. Messages never hold a value of it."""

    reason = "SecretInvalid"


class Moving(Refusal):
    """The queue is to live in another NATS account, and there may be tasks in the one it is to leave."""

    reason = "Moving"
    retry_s = 5.0
    is_error = False


class BrokerRefused(Refusal):
    """JetStream understood a request and refused it, such as three replicas on one server; asked again with backoff."""

    reason = "NatsRefused"
    backs_off = True


class QuotaExceeded(BrokerRefused):
    """A limit of the account or the server is used up; asked again with backoff, since room may come."""

    reason = "QuotaExceeded"


class BrokerUnavailable(Exception):
    """NATS did not answer; asked again with backoff, and at once when the connection is back."""

    reason = "NatsUnavailable"
    is_error: ClassVar[bool] = True


class Unanswered(BrokerUnavailable):
    """There is a connection, and one request was not answered: what was asked for may be on a server that is away."""
