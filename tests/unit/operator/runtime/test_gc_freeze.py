import gc
from collections.abc import Iterator

import pytest

from protoqueue_operator.runtime.gc_freeze import GcFreeze


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_there_is_set_aside_once_the_number_of_resources_has_settled() -> None:
    tenure = GcFreeze()
    told = [tenure.observe(count) for count in (0, 2000, 4000, 4000, 4000, 4001, 4001, 6000, 6000)]
    assert told == [False, False, False, True, False, False, False, False, True]
    assert gc.get_freeze_count() > 0


def test_a_few_resources_are_left_to_the_collector() -> None:
    tenure = GcFreeze()
    assert not any(tenure.observe(900) for _ in range(3))
    assert gc.get_freeze_count() == 0


def test_what_has_gone_since_is_collected_at_the_next_settling() -> None:
    class Ring:
        def __init__(self) -> None:
            self.me = self

    tenure = GcFreeze()
    ring = Ring()
    for count in (2000, 2000):
        tenure.observe(count)
    del ring
    assert any(isinstance(each, Ring) for each in gc.get_objects()) is False, "set aside, out of sight"
    for count in (4000, 4000):
        tenure.observe(count)
    gc.unfreeze()
    assert not any(isinstance(each, Ring) for each in gc.get_objects())


def test_where_few_resources_are_left_nothing_stays_set_aside() -> None:
    tenure = GcFreeze()
    for count in (2000, 2000, 10, 10):
        tenure.observe(count)
    assert gc.get_freeze_count() == 0
