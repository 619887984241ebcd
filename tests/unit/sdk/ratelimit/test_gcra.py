from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protoqueue.ratelimit import gcra
from protoqueue.ratelimit.gcra import Limit, State

NOW = 1_700_000_000_000_000
limits = st.builds(
    Limit,
    tasks=st.integers(1, 50_000),
    per_us=st.sampled_from([100_000, 1_000_000, 3_000_000, 60_000_000, 86_400_000_000]),
    burst=st.integers(1, 1_000),
)
aheads = st.sampled_from([0, 1_000, 1_000_000, 100_000_000])
requests = st.lists(st.tuples(st.integers(0, 5_000_000), st.integers(1, 500), st.floats(0, 1)), min_size=1, max_size=30)


@given(limits, requests, aheads)
def test_no_window_holds_more_than_the_burst_and_what_the_rate_yields(limit, asked, ahead_us):
    state, now_us, spent = gcra.full(limit, NOW), NOW, []
    for pause_us, want, lateness in asked:
        now_us += pause_us
        lease = gcra.lease(state, limit, want, now_us, ahead_us)
        state = lease.state
        late_us = int(lateness * limit.slack_us)
        spent += [max(now_us, lease.ripe_at_us(index)) + late_us for index in range(lease.granted)]
    spent.sort()
    # The lowest `i * per - t_i * tasks` so far marks the worst beginning of a window that ends here.
    lowest = None
    for count, time_us in enumerate(spent):
        level = count * limit.per_us - time_us * limit.tasks
        lowest = level if lowest is None else min(lowest, level)
        assert level + limit.per_us - lowest <= limit.burst * limit.per_us + limit.tasks  # rounded to 1 us


@given(limits)
def test_a_full_bucket_gives_its_burst_within_the_slack_and_then_waits(limit):
    lease = gcra.lease(gcra.full(limit, NOW), limit, limit.burst + 1, NOW, limit.slack_us)
    assert lease.granted == limit.burst
    assert lease.ripe(NOW) >= 1
    assert lease.ripe(NOW + limit.slack_us) == limit.burst


@given(limits, st.integers(1, 1_000_000), st.integers(1, 40))
def test_the_long_run_rate_is_exact_whatever_the_interval(limit, tokens, leases):
    state = gcra.empty(limit, NOW)
    for _ in range(leases):
        state = gcra.lease(state, limit, tokens, NOW, ahead_us=10**19).state
    assert state.tat - gcra.empty(limit, NOW).tat == leases * tokens * limit.per_us


@given(limits, st.integers(2, 200))
def test_tokens_ripen_one_interval_after_the_other(limit, tokens):
    lease = gcra.lease(gcra.empty(limit, NOW), limit, tokens, NOW, ahead_us=10**15)
    ripe_at = [lease.ripe_at_us(index) for index in range(lease.granted)]
    assert ripe_at[0] == NOW + limit.interval_us
    assert all(abs((after - before) * limit.tasks - limit.per_us) < limit.tasks for before, after in pairwise(ripe_at))
    for index, at_us in enumerate(ripe_at):
        assert lease.ripe(at_us) >= index + 1
        assert lease.ripe(at_us - 1) <= index


@given(limits, aheads)
def test_whoever_gets_nothing_gets_something_after_the_wait_and_not_before(limit, ahead_us):
    state = gcra.lease(gcra.full(limit, NOW), limit, 10**9, NOW, ahead_us).state
    denied = gcra.lease(state, limit, 1, NOW, ahead_us)
    assert denied.granted == 0
    assert denied.state == state
    assert gcra.lease(state, limit, 1, NOW + denied.wait_us, ahead_us).granted == 1
    assert gcra.lease(state, limit, 1, NOW + denied.wait_us - 1, ahead_us).granted == 0


@given(limits, aheads, st.integers(1, 10**13))
def test_a_clock_that_goes_back_neither_mints_tokens_nor_closes_the_bucket(limit, ahead_us, back_us):
    drained = gcra.lease(gcra.full(limit, NOW), limit, 10**9, NOW, ahead_us).state
    back_at_us = NOW - back_us
    lease = gcra.lease(gcra.recovered(drained, back_at_us, ahead_us), limit, 1, back_at_us, ahead_us)
    assert lease.ripe(back_at_us) == 0
    assert lease.wait_us <= limit.interval_us + gcra.CLOCK_TOLERANCE_US


@given(limits, aheads, st.integers(0, 10**13))
def test_no_lease_leads_to_a_state_that_looks_as_if_the_clock_had_gone_back(limit, ahead_us, pause_us):
    drained = gcra.lease(gcra.full(limit, NOW), limit, 10**9, NOW, ahead_us).state
    assert gcra.recovered(drained, NOW + pause_us, ahead_us) == drained


@given(limits, limits, st.integers(0, 2_000), st.integers(0, 10_000_000))
def test_a_change_of_the_limit_yields_no_token_and_keeps_those_that_fit(old, new, taken, pause_us):
    state = gcra.lease(gcra.full(old, NOW), old, taken, NOW).state
    now_us = NOW + pause_us
    before, after = gcra.available(state, now_us), gcra.available(gcra.adapt(state, new, now_us), now_us)
    assert after <= before
    assert after >= min(before, new.capacity // new.per_us) - (1 if before else 0)


def test_tokens_leased_ahead_under_an_old_limit_do_not_hold_up_the_new_one():
    fast, slow = Limit(1_000, 1_000_000, 10), Limit(1, 60_000_000, 1)
    far_ahead = gcra.lease(gcra.full(fast, NOW), fast, 10_000, NOW, ahead_us=1_000_000).state
    assert gcra.lease(far_ahead, slow, 1, NOW).wait_us == slow.interval_us


@given(limits, st.integers(0, 10**24))
def test_a_state_survives_encoding(limit, tat):
    assert gcra.decode(gcra.encode(State(limit, tat))) == State(limit, tat)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"{}", b'{"tat_us": null}', b'{"tat_us":1,"ticks":0,"tasks":0,"per_us":1,"burst":1}']
)
def test_bytes_that_are_no_state_are_refused(data):
    with pytest.raises(ValueError, match=r"."):
        gcra.decode(data)


@pytest.mark.parametrize("fields", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 1)])
def test_a_limit_without_tasks_time_or_burst_is_refused(fields):
    with pytest.raises(ValueError, match="must be positive"):
        Limit(*fields)
