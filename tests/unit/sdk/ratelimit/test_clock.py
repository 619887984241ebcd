import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protoqueue.errors import Unavailable
from protoqueue.ratelimit.clock import DRIFT_PPM, Offset, ServerClock
from unit.sdk.ratelimit.virtual_time import SlowBroker, run

HOUR_US = 3_600_000_000


@given(
    st.integers(-HOUR_US, HOUR_US),
    st.integers(-DRIFT_PPM, DRIFT_PPM),
    st.lists(st.tuples(st.integers(0, 60_000_000), st.integers(0, 500_000), st.integers(0, 500_000)), min_size=1),
)
def test_the_true_offset_stays_within_the_bounds_however_uneven_the_way(true_offset, drift_ppm, measurements):
    def server(local_us):
        return local_us + true_offset + local_us * drift_ppm // 1_000_000

    local_us, known = 0, None
    for pause_us, there_us, back_us in measurements:
        sent_us = local_us + pause_us
        local_us = sent_us + there_us + back_us
        sample = Offset.measured(sent_us, server(sent_us + there_us), local_us)
        known = sample if known is None else known.narrowed(sample)
        aged = known.aged(local_us)
        rounding = 2 * len(measurements)
        assert aged.low_us - rounding <= server(local_us) - local_us <= aged.high_us + rounding
        assert known.width_us <= sample.width_us


def test_measurements_that_contradict_mean_that_a_clock_was_set():
    before, after = Offset(100, 200, 0), Offset(9_000_000, 9_000_100, 1_000)
    assert before.narrowed(after) == after


def test_a_clock_follows_the_server_and_asks_rarely():
    async def scenario():
        broker = SlowBroker(latency_s=0.001)
        clock = ServerClock(broker.server_time_us)
        for _ in range(600):
            await clock.refresh()
            now_us = (asyncio.get_running_loop().time() + broker.clock_s) * 1e6
            assert abs(clock.now_us() - now_us) < 4_000
            await asyncio.sleep(0.1)
        return broker.requests

    assert run(scenario()) <= 2 * 10


def test_a_clock_takes_the_server_s_step_over_when_asked_to_look():
    async def scenario():
        broker = SlowBroker()
        clock = ServerClock(broker.server_time_us)
        await clock.refresh()
        before_us = clock.now_us()
        broker.clock_s -= 3600
        await clock.refresh(max_age_us=0)
        assert clock.now_us() - before_us == pytest.approx(-3600e6, abs=10_000)

    run(scenario())


def test_a_server_that_does_not_answer_is_the_caller_s_to_know():
    async def scenario():
        broker = SlowBroker()
        broker.is_down = True
        with pytest.raises(Unavailable):
            await ServerClock(broker.server_time_us).refresh()

    run(scenario())
