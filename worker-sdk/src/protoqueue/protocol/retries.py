"""Retry settings of a task or handler: validated, encoded, and merged over the group's policy."""

import types
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration

from protoqueue.protocol.config import RetryPolicy
from protoqueue.protocol.durations import LONGEST, to_seconds
from protoqueue.protocol.v1 import task_pb2
from protoqueue.task import Retries

_MOST_ATTEMPTS, _LARGEST_MULTIPLIER = 1000, 100
"""As in `spec.retry`."""

_Number = TypeVar("_Number", int, float)


def check_retries(retries: Retries, error: type[Exception] = ValueError) -> None:
    """Raises `error` for an invalid value, with the field's name."""
    if not isinstance(retries, Retries):
        raise error(f"write protoqueue.Retries(max_attempts=…), not {retries!r}")
    attempts = retries.max_attempts
    if attempts is not None and not (_is_number(attempts, int) and 1 <= attempts <= _MOST_ATTEMPTS):
        raise error(f"max_attempts must be an integer from 1 to {_MOST_ATTEMPTS}, not {attempts!r}")
    for name, least, most in (("multiplier", 1, _LARGEST_MULTIPLIER), ("jitter", 0, 1)):
        value = getattr(retries, name)
        if value is not None and not (_is_number(value, int | float) and least <= value <= most):
            raise error(f"{name} must be a number from {least} to {most}, not {value!r}")
    for name in ("initial_delay", "max_delay"):
        if (delay := getattr(retries, name)) is not None:
            to_seconds(name, delay, error)


def write_retries(retries: Retries) -> task_pb2.Retries:
    """Raises ValueError for invalid values."""
    check_retries(retries)
    wire = task_pb2.Retries(
        max_attempts=retries.max_attempts, multiplier=retries.multiplier, jitter=retries.jitter,
    )  # fmt: skip
    for into, delay in ((wire.initial_delay, retries.initial_delay), (wire.max_delay, retries.max_delay)):
        if delay is not None:
            into.FromTimedelta(delay if isinstance(delay, timedelta) else timedelta(seconds=delay))
            into.SetInParent()
    return wire


def read_retries(wire: task_pb2.Retries) -> Retries:
    """Invalid values of other producers count as absent; too many attempts count as the maximum."""
    attempts = min(wire.max_attempts, _MOST_ATTEMPTS)
    multiplier, jitter = wire.multiplier, wire.jitter
    return Retries(
        max_attempts=attempts if attempts > 0 else None,
        initial_delay=_delay(wire.initial_delay) if wire.HasField("initial_delay") else None,
        multiplier=multiplier if 1 <= multiplier <= _LARGEST_MULTIPLIER else None,
        max_delay=_delay(wire.max_delay) if wire.HasField("max_delay") else None,
        jitter=jitter if wire.HasField("jitter") and 0 <= jitter <= 1 else None,
    )


def effective_policy(group: RetryPolicy, handler: Retries | None, task: Retries | None) -> RetryPolicy:
    """The group's policy, overridden field by field by the handler's settings and then by the task's."""
    policy = group
    for stated in (handler, task):
        if stated is not None:
            policy = replace(
                policy,
                max_attempts=_or(stated.max_attempts, policy.max_attempts),
                initial_delay_s=_or(_seconds(stated.initial_delay), policy.initial_delay_s),
                multiplier=_or(stated.multiplier, policy.multiplier),
                max_delay_s=_or(_seconds(stated.max_delay), policy.max_delay_s),
                jitter=_or(stated.jitter, policy.jitter),
            )
    return policy


def _or(stated: _Number | None, otherwise: _Number) -> _Number:
    return otherwise if stated is None else stated


def _seconds(delay: float | timedelta | None) -> float | None:
    return delay.total_seconds() if isinstance(delay, timedelta) else delay


def _delay(wire: Duration) -> float | None:
    seconds = wire.seconds + wire.nanos / 1e9
    return seconds if 0 <= seconds <= LONGEST.total_seconds() else None


def _is_number(value: object, kind: type | types.UnionType) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
