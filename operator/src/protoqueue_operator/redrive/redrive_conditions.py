"""The status of a Redrive. Pure."""

from datetime import datetime

from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.redrive import RedriveSpec
from protoqueue_operator.api.v1alpha1.status import Fields
from protoqueue_operator.api.v1alpha1.text import counted
from protoqueue_operator.redrive.checkpoint import Checkpoint
from protoqueue_operator.redrive.plan import target

_FIRST_WRITE_S, _LATER_WRITES_S = 1.0, 10.0


def progress_fields(checkpoint: Checkpoint, spec: RedriveSpec, generation: int) -> Fields:
    """The current counts."""
    left = target(spec, checkpoint.matched) - checkpoint.moved - checkpoint.failed
    return {
        "observedGeneration": generation,
        "matched": checkpoint.matched,
        "moved": checkpoint.moved,
        "remaining": max(0, left),
        "failed": checkpoint.failed,
        "startTime": moment(checkpoint.started),
        "position": checkpoint.position,
        "lastSequence": checkpoint.last,
    }


def finished_fields(checkpoint: Checkpoint, spec: RedriveSpec, generation: int, now: datetime) -> Fields:
    """The counts of a finished one; a dry run leaves all letters."""
    fields = progress_fields(checkpoint, spec, generation) | {"completionTime": moment(now)}
    return fields if spec.dry_run else fields | {"remaining": 0}


def going(generation: int, reason: str, message: str, *, working: bool) -> list[Condition]:
    """The conditions of an unfinished one: `working`, or waiting for something."""
    return [
        _condition("Progressing", working, reason, message, generation),
        _condition("Complete", False, reason, "", generation),
        _condition("Failed", False, reason, "", generation),
    ]


def finished(checkpoint: Checkpoint, spec: RedriveSpec, generation: int) -> list[Condition]:
    """Complete in any case; also Failed if some letters could not be moved."""
    said = _summary(checkpoint, spec)
    if spec.dry_run:
        return _complete(generation, "DryRun", said)
    if not checkpoint.failed:
        return _complete(generation, "Completed", said)
    why = f"{counted(checkpoint.failed, 'dead letter')} could not be moved; the first: {checkpoint.failure}"
    failed = _condition("Failed", True, "LettersNotMoved", why, generation)
    return [*_complete(generation, "CompletedWithFailures", said)[:-1], failed]


def _complete(generation: int, reason: str, message: str) -> list[Condition]:
    return [
        _condition("Progressing", False, reason, message, generation),
        _condition("Complete", True, reason, message, generation),
        _condition("Failed", False, reason, "", generation),
    ]


def gave_up(generation: int, reason: str, message: str) -> list[Condition]:
    """The conditions of one that can never run."""
    return [
        _condition("Progressing", False, reason, message, generation),
        _condition("Complete", False, reason, "", generation),
        _condition("Failed", True, reason, message, generation),
    ]


def write_interval_s(running_s: float) -> float:
    """The interval between two writes of changing counts: short at first, when users watch."""
    return min(_LATER_WRITES_S, max(_FIRST_WRITE_S, running_s / 30))


def moment(time: datetime) -> str:
    """A time as the API server writes it: whole seconds."""
    return time.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _summary(checkpoint: Checkpoint, spec: RedriveSpec) -> str:
    wanted = target(spec, checkpoint.matched)
    if spec.dry_run:
        return f"{counted(wanted, 'dead letter')} would be moved"
    said = f"moved {counted(checkpoint.moved, 'dead letter')}"
    if checkpoint.failed:
        said += f", {checkpoint.failed} could not be moved"
    if (gone := wanted - checkpoint.moved - checkpoint.failed) > 0:
        said += f"; {gone} had been removed meanwhile by others, or by maxAge"
    return said


def _condition(kind: str, holds: bool, reason: str, message: str, generation: int) -> Condition:
    return Condition(
        type=kind,
        status="True" if holds else "False",
        reason=reason,
        message=message,
        observed_generation=generation,
    )
