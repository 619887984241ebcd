import pytest

from protoqueue_operator.autoscaling.availability import Availability, assess


def fails(*looks: tuple[float, int], wanted: int = 3, has_work: bool = True) -> list[bool]:
    """Whether it was said that workers fail, at each moment with so many available."""
    availability, said = Availability(), []
    for now, available in looks:
        availability = assess(availability, wanted=wanted, available=available, has_work=has_work, now=now)
        said.append(availability.is_failing)
    return said


def test_workers_fail_when_none_has_been_available_for_half_a_minute() -> None:
    assert fails((0, 0), (29, 0), (30, 0), (3000, 0)) == [False, False, True, True]


def test_a_worker_that_is_available_for_a_moment_changes_nothing() -> None:
    assert fails((0, 0), (20, 1), (21, 0), (30, 1), (31, 0), (40, 3), (49, 3)) == [False] * 4 + [True] * 3


def test_one_that_stays_is_enough() -> None:
    assert fails((0, 0), (30, 0), (40, 1), (50, 1), (51, 0), (80, 0), (81, 0)) == [False, True, True] + [False] * 3 + [
        True
    ]


def test_pods_that_come_up_just_in_time_do_not_fail() -> None:
    assert fails((0, 0), (25, 1), (30, 1), (35, 1)) == [False] * 4


@pytest.mark.parametrize("looks", [{"wanted": 0}, {"has_work": False}])
def test_without_work_or_without_workers_nobody_fails(looks: dict[str, int]) -> None:
    assert fails((0, 0), (100, 0), **looks) == [False, False]  # type: ignore[arg-type]
