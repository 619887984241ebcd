"""The size of an object that several groups scale together: the largest number that any of them wants. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from protoqueue_operator.api.v1alpha1.text import counted
from protoqueue_operator.autoscaling.decision import Decision, History, resized


@dataclass(frozen=True)
class Wish:
    """How many workers another group wants; None where that is not known."""

    group: str
    replicas: int | None


def largest(decision: Decision, current: int, others: Sequence[Wish], target: str, before: History) -> Decision:
    """What becomes of a group's own decision where `others` scale `target` too.

    It may always ask for more. For fewer only as far as no other wants them, and not while that is unknown: then the
    history stays what it was `before`, so that it need not wait anew once they want fewer too.
    """
    if decision.replicas >= current:
        return decision
    unknown = next((other.group for other in others if other.replicas is None), None)
    if unknown is not None:
        why = f"what the ConsumerGroup {unknown} wants is not known yet"
        return _held(decision, current, current, f"{target} is shared, and {why}", before)
    most = max(others, key=lambda other: other.replicas or 0, default=None)
    if most is None or most.replicas is None or most.replicas <= decision.replicas:
        return decision
    wants = f"{target} is shared, and the ConsumerGroup {most.group} wants {counted(most.replicas, 'worker')}"
    return _held(decision, current, min(most.replicas, current), wants, before)


def _held(decision: Decision, current: int, replicas: int, why: str, before: History) -> Decision:
    this = f"this one {decision.replicas}"
    if replicas < current:
        return replace(decision, replicas=replicas, message=f"{why}, {this}: {resized(current, replicas)}")
    return Decision(current, "SharedTarget", f"{why}, {this}: holding {counted(current, 'worker')}", before)
