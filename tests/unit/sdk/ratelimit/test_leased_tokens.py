from protoqueue.ratelimit import gcra
from protoqueue.ratelimit.gcra import Limit
from protoqueue.ratelimit.leased_tokens import LeasedTokens

LIMIT = Limit(100, 1_000_000, 50)  # a token every 10 ms, slack 50 ms
NOW = 5_000_000


def lease(tokens: int, limit: Limit = LIMIT) -> LeasedTokens:
    """Its tokens ripen 10, 20, 30, ... ms after NOW."""
    return LeasedTokens(gcra.lease(gcra.empty(limit, NOW), limit, tokens, NOW, ahead_us=10_000_000), NOW)


def test_tokens_are_usable_once_they_are_ripe():
    leased = lease(3)
    assert [leased.usable(NOW + ms * 1_000) for ms in (0, 9, 10, 25, 30)] == [0, 0, 1, 2, 3]
    assert leased.ripe_in_us(NOW) == 10_000


def test_spent_tokens_are_gone():
    leased = lease(3)
    assert leased.usable(NOW + 30_000) == 3
    leased.spend(2)
    assert leased.usable(NOW + 30_000) == 1


def test_a_token_lapses_when_nobody_spends_it_within_the_slack():
    leased = lease(3)
    leased.discard_stale(NOW + 71_000)
    assert (leased.lapsed, leased.left) == (2, 1)


def test_one_who_waits_and_wakes_up_late_still_finds_a_token_but_only_one():
    leased = lease(3)
    assert leased.usable(NOW + 10_000_000) == 1
    assert leased.lapsed == 2


def test_without_slack_a_waiting_worker_still_gets_on():
    leased = lease(3, Limit(100, 1_000_000, 1))
    assert leased.usable(NOW + 10_500) == 1


def test_tokens_of_a_full_bucket_lapse_by_the_time_of_their_lease():
    leased = LeasedTokens(gcra.lease(gcra.full(LIMIT, NOW), LIMIT, 10, NOW), NOW)
    leased.discard_stale(NOW + 50_000)
    assert leased.left == 10
    leased.discard_stale(NOW + 51_000)
    assert leased.left == 0
