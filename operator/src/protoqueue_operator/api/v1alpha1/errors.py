"""Why a resource cannot be reconciled. Each error has the reason that its condition shows, and when to retry."""

from typing import ClassVar


class Refusal(Exception):
    """The resource is not reconciled. Terminal until something is changed, unless it says when to retry."""

    reason: ClassVar[str]
    retry_s: ClassVar[float | None] = None
    """After how many seconds to retry if no event signals that the cause is gone."""
    backs_off: ClassVar[bool] = False
    """Whether to retry with backoff."""
    is_error: ClassVar[bool] = True
    """False for a documented state that passes by itself: metrics do not count it."""

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


class InvalidSpec(Refusal):
    """An invalid field value that the schema cannot refuse."""

    reason = "InvalidSpec"


class ImmutableField(Refusal):
    """A change that JetStream cannot make in place; nothing is deleted and re-created behind a user's back."""

    reason = "ImmutableField"


class ForeignAsset(Refusal):
    """Something of that name exists and has another owner; it is left alone."""

    reason = "ForeignAsset"
    retry_s = 30.0


class TakenOver(Refusal):
    """A stream that was this Queue's now belongs to one of the same name in another cluster; retried periodically."""

    reason = "TakenOver"
    retry_s = 30.0


class QueueNotFound(Refusal):
    """The queue that a group refers to does not exist, or is being deleted."""

    reason = "QueueNotFound"


class QueueNotReady(Refusal):
    """The queue that a group refers to has not been created yet, or is refused itself."""

    reason = "QueueNotReady"


class DeadLetterQueueNotFound(Refusal):
    """The queue for the dead letters does not exist, or is being deleted."""

    reason = "DeadLetterQueueNotFound"


class DeadLetterQueueNotReady(Refusal):
    """The queue for the dead letters has not been created yet, or is refused itself."""

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
    """The Secret with the NATS connection does not exist; retried periodically."""

    reason = "SecretNotFound"


class SecretInvalid(Refusal):
    """The Secret with the NATS connection lacks a key or contradicts itself. Messages never hold a value of it."""

    reason = "SecretInvalid"


class Moving(Refusal):
    """The queue is to move to another NATS account, and there may be tasks in the current one."""

    reason = "Moving"
    retry_s = 5.0
    is_error = False


class BrokerRefused(Refusal):
    """JetStream understood a request and refused it, such as three replicas on one server; retried with backoff."""

    reason = "NatsRefused"
    backs_off = True


class QuotaExceeded(BrokerRefused):
    """A limit of the account or server is exhausted; retried with backoff, since space may become free."""

    reason = "QuotaExceeded"


class BrokerUnavailable(Exception):
    """NATS did not answer; retried with backoff, and at once when the connection is back."""

    reason = "NatsUnavailable"
    is_error: ClassVar[bool] = True


class Unanswered(BrokerUnavailable):
    """One request on a working connection was not answered: the asset may be on a server that is away."""
