import pickle
from datetime import UTC, datetime, timedelta

import pytest

from protoqueue import NoHandler, Reject, Retry, Snooze, UndecodableTask
from protoqueue.outcomes import Reason
from protoqueue.protocol.config import RetryPolicy
from protoqueue.settlement.backoff import retry_delay
from protoqueue.settlement.outcome import Dead, Failure, Outcome, RetryLater, Snoozed, WaitForWorker, outcome_of

POLICY = RetryPolicy(max_attempts=3, initial_delay_s=1, multiplier=2, max_delay_s=10, jitter=0.5)


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


@pytest.mark.parametrize(
    ("attempt", "jitter", "delay_s"),
    [(1, 0, 1), (2, 0, 2), (3, 0, 4), (4, 0, 8), (5, 0, 10), (10**6, 0, 10), (1, 1, 1.5), (1, -1, 0.5), (5, 1, 15)],
)
def test_the_delay_grows_to_its_limit_and_is_spread_to_both_sides(attempt: int, jitter: float, delay_s: float) -> None:
    assert retry_delay(POLICY, attempt, jitter) == seconds(delay_s)


@pytest.mark.parametrize(
    ("error", "attempt", "kind", "detail"),
    [
        (ValueError("x"), 1, RetryLater, seconds(1)),
        (ValueError("x"), 2, RetryLater, seconds(2)),
        (ValueError("x"), 3, Dead, Reason.MAX_ATTEMPTS),
        (TimeoutError(), 9, Dead, Reason.MAX_ATTEMPTS),
        (Retry(delay=7), 1, RetryLater, seconds(7)),
        (Retry(delay=0), 1, RetryLater, seconds(0)),
        (Retry(), 2, RetryLater, seconds(2)),
        (Retry(delay=7), 3, Dead, Reason.MAX_ATTEMPTS),
        (Reject("bad"), 1, Dead, Reason.REJECTED),
        (Snooze(timedelta(minutes=1)), 3, Snoozed, seconds(60)),
        (UndecodableTask("x"), 99, WaitForWorker, seconds(1)),
        (NoHandler("x"), 99, WaitForWorker, seconds(1)),
    ],
)
def test_what_a_handler_raises_decides_the_outcome(
    error: Exception, attempt: int, kind: type[Outcome], detail: object
) -> None:
    outcome = outcome_of(error, attempt, POLICY, jitter=0)
    assert isinstance(outcome, kind)
    assert detail == (outcome.reason if isinstance(outcome, Dead) else outcome.delay)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("error", "kind"),
    [(ValueError("x"), Dead), (Retry(), RetryLater), (Snooze(1), Snoozed), (NoHandler("x"), WaitForWorker)],
)
def test_what_is_final_dies_at_once_unless_the_handler_asks_for_more(error: Exception, kind: type[Outcome]) -> None:
    outcome = outcome_of(error, 1, POLICY, 0, is_final=True)
    assert isinstance(outcome, kind)
    if isinstance(outcome, Dead):
        assert outcome.reason is Reason.REJECTED


@pytest.mark.parametrize(
    ("error", "waited_s", "expected"),
    [
        (NoHandler("x"), 4, seconds(4)),
        (NoHandler("x"), 500, seconds(30)),
        (UndecodableTask("x"), 890, seconds(10)),
        (UndecodableTask("x"), 900, Reason.UNDECODABLE),
        (NoHandler("x"), 900, Reason.NO_HANDLER),
    ],
)
def test_what_no_handler_takes_waits_for_a_newer_worker_and_no_longer_than_told(
    error: Exception, waited_s: float, expected: timedelta | Reason
) -> None:
    outcome = outcome_of(error, 1, RetryPolicy(rollout_grace_s=900), 0, waited_s)
    assert expected == (outcome.reason if isinstance(outcome, Dead) else outcome.delay)  # type: ignore[union-attr]


def test_without_a_rollout_grace_it_dies_at_once() -> None:
    outcome = outcome_of(NoHandler("x"), 1, RetryPolicy(rollout_grace_s=0), 0)
    assert isinstance(outcome, Dead)


def test_the_default_attempts_last_for_hours() -> None:
    """What the documentation says: eight hours, and never less than six."""
    policy = RetryPolicy()
    delays = [retry_delay(policy, attempt, 0) for attempt in range(1, policy.max_attempts)]
    assert sum(delays, timedelta()) == timedelta(hours=8, minutes=8, seconds=15)
    assert sum((retry_delay(policy, n, -1) for n in range(1, policy.max_attempts)), timedelta()) > timedelta(hours=6)


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf"), "5s", 1e12, timedelta.max])
def test_a_delay_that_is_none_is_refused_where_it_is_written(delay: float) -> None:
    with pytest.raises(ValueError, match="duration"):
        Snooze(delay)


@pytest.mark.parametrize("delay", [30, 1.5, timedelta(seconds=30)])
def test_a_delay_in_place_of_the_reason_for_a_retry_is_not_passed_over(delay: float) -> None:
    with pytest.raises(TypeError, match=r"Retry\(delay="):
        Retry(delay)  # type: ignore[arg-type]


def test_the_longest_backoff_ends_within_the_calendar() -> None:
    policy = RetryPolicy(max_attempts=99, initial_delay_s=1e11, multiplier=9, max_delay_s=3e11, jitter=1)
    datetime.now(UTC) + retry_delay(policy, 9, jitter=1)


def test_an_error_that_cannot_say_what_it_is_is_reported_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert Failure.of(Mute()) == Failure("Mute", "(the error cannot say what it is)")
    assert Failure.of(OSError("caf\udce9")).message == "caf\\udce9"


@pytest.mark.parametrize("error", [Snooze(60), Retry("later", delay=3), Reject("never")], ids=repr)
def test_what_a_handler_raises_survives_the_way_back_from_a_process(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), vars(again)) == (str(error), vars(error))
