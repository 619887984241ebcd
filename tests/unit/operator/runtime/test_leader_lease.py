from protoqueue_operator.runtime.leader_lease import (
    LEASE_S,
    RENEW_S,
    SURRENDER_S,
    LeaseSeen,
    held,
    may_take,
    released,
    see,
)


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
    assert SURRENDER_S + RENEW_S <= LEASE_S
    assert (LEASE_S, RENEW_S) == (15, 2), "client-go's: what administrators of Kubernetes expect"
    assert SURRENDER_S > 2 * 5 + RENEW_S, "renewals that take five seconds each are renewals"


BEGUN, LATER = "2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:02.000000Z"


def test_a_lease_records_its_holder_as_client_go_does_and_keeps_what_else_it_says() -> None:
    first = held({}, "me", BEGUN)
    assert first == {
        "spec": {
            "holderIdentity": "me",
            "leaseDurationSeconds": 15,
            "acquireTime": BEGUN,
            "renewTime": BEGUN,
            "leaseTransitions": 0,
        }
    }
    labelled = {"metadata": {"labels": {"a": "b"}}, **first}
    renewed = held(labelled, "me", LATER)
    assert renewed["metadata"] == {"labels": {"a": "b"}}
    assert renewed["spec"] == first["spec"] | {"renewTime": LATER}
    taken = held(renewed, "another", LATER)
    assert taken["spec"] == renewed["spec"] | {"holderIdentity": "another", "acquireTime": LATER, "leaseTransitions": 1}
    free = released(labelled, LATER)
    assert (free["metadata"], free["spec"]["holderIdentity"]) == (labelled["metadata"], "")
    assert held(free, "another", LATER)["spec"]["leaseTransitions"] == 1
    assert held({"metadata": {}, "spec": None}, "me", BEGUN)["spec"]["holderIdentity"] == "me"
