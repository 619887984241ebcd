from protoqueue_operator.core.leadership import LEASE_S, RENEW_S, SURRENDER_S, LeaseSeen, may_take, see


def test_a_free_lease_and_ones_own_are_taken_at_once() -> None:
    assert may_take(LeaseSeen("", "1", 0), "me", 0)
    assert may_take(LeaseSeen("me", "1", 0), "me", 0)


def test_anothers_is_taken_only_after_it_stood_still_for_the_whole_term() -> None:
    seen = see(None, "other", "1", 100)
    assert not may_take(seen, "me", 100 + LEASE_S - 0.1)
    assert may_take(seen, "me", 100 + LEASE_S)
    assert not may_take(see(seen, "other", "2", 109), "me", 100 + LEASE_S), "it was renewed meanwhile"
    assert see(seen, "other", "1", 109) == seen


def test_a_leader_stops_before_another_may_begin() -> None:
    assert SURRENDER_S + RENEW_S < LEASE_S
    assert LEASE_S + RENEW_S < 15, "failover as promised"
