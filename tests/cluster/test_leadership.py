"""Of several replicas one acts, and never two at a time: what each wrote, and when, is seen on its way to the API."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.detour import Asked, Detour
from cluster.lab import Lab, unique
from cluster.operator_process import OperatorProcess
from cluster.replica import Replica
from nats_server import NatsServer
from protoqueue_devcluster.kube.client import LEASES, ApiError
from waiting import eventually

FAILOVER_S = 30
"""LEASE_S and then some: a machine under load is slower than the promise."""


@dataclass
class Candidate:
    """A replica and its way to the API server."""

    replica: Replica
    detour: Detour

    def writes(self) -> list[Asked]:
        """What changed or was to change anything but the Lease."""
        return [each for each in self.detour.asked if each.method != "GET" and "/leases" not in each.path]

    def looks(self) -> int:
        """How often it has asked for the Lease, to read or to write it."""
        return sum("/leases" in each.path for each in self.detour.asked)


@pytest.fixture
def lease() -> str:
    return f"default/{unique('operator')}"


@pytest.fixture
async def candidates(
    kubeconfig: Path, server: NatsServer, tmp_path: Path, lease: str, lab: Lab, operator: OperatorProcess
) -> AsyncIterator[list[Candidate]]:
    """Two that contend for one Lease and serve the test's namespace, while the session's operator rests."""
    operator.stop()
    made = []
    for number in range(2):
        directory = tmp_path / f"replica{number}"
        directory.mkdir()
        detour = Detour(kubeconfig, directory)
        await detour.start()
        arguments = ("--namespace", lab.namespace, "--leader-elect", lease)
        made.append(Candidate(Replica(detour.kubeconfig, server.url, directory, *arguments), detour))
    yield made
    for candidate in made:
        candidate.replica.kill()
        await candidate.detour.stop()
    operator.start()


async def lead(first: Candidate, second: Candidate) -> None:
    """Let the first be the leader, the second wait."""
    first.replica.start()
    await eventually(first.replica.leads)
    second.replica.start()
    await eventually(second.replica.metrics)


async def test_a_killed_leader_is_replaced_in_time_and_what_it_was_at_is_done_once(
    lab: Lab, candidates: list[Candidate]
) -> None:
    first, second = candidates
    await lead(first, second)
    names = tuple(f"burst{number}" for number in range(60))
    burst = asyncio.gather(*(lab.queue(name) for name in names))
    await eventually(lambda: len(first.writes()) > 30, interval_s=0.005)
    first.replica.kill()
    killed = time.monotonic()
    await burst
    await lab.ready(queues=names)
    begun = second.writes()[0].at
    assert begun - killed < FAILOVER_S
    assert begun > first.writes()[-1].at, "nobody acted before the other had ended"
    assert 30 < len(first.writes()) < 2 * len(names), "it was killed in the middle"
    written = [each for each in (*first.writes(), *second.writes()) if each.status == 200]
    for name in names:
        paths = [each.path.rpartition("/queues/")[2] for each in written]
        # Once more where the leader was killed between a write and its answer.
        assert paths.count(name) <= 2, "one finalizer"
        assert paths.count(f"{name}/status") <= 3, "one status, and the first numbers"


async def test_a_leader_that_ends_in_order_hands_over_at_once(lab: Lab, candidates: list[Candidate]) -> None:
    first, second = candidates
    await lead(first, second)
    await asyncio.to_thread(first.replica.stop)
    await eventually(second.replica.leads, timeout_s=12)  # a leader that is killed is waited for LEASE_S


async def test_a_leader_ends_in_order_although_the_api_server_does_not_answer(
    lab: Lab, candidates: list[Candidate]
) -> None:
    leader, detour = candidates[0].replica, candidates[0].detour
    leader.start()
    await eventually(leader.leads)
    detour.open.clear()
    await asyncio.to_thread(leader.stop)


async def test_a_change_of_leader_writes_no_status_and_tells_of_no_event(lab: Lab, candidates: list[Candidate]) -> None:
    first, second = candidates
    await lead(first, second)
    queues = tuple(f"queue{number}" for number in range(20))
    groups = tuple(f"group{number}" for number in range(20))
    await lab.secret("account", url=lab.nats_url)  # half of them through a connection that no standby has
    through = {"nats": {"connectionSecretRef": {"name": "account"}}}
    await asyncio.gather(*(lab.queue(name, **(through if number % 2 else {})) for number, name in enumerate(queues)))
    await asyncio.gather(*(lab.group(group, queue) for group, queue in zip(groups, queues, strict=True)))
    await lab.ready(queues=queues, groups=groups)

    def scaled() -> bool:
        return len(first.writes()) > 40

    await eventually(scaled)
    statuses = await lab.statuses()
    first.replica.kill()
    await eventually(second.replica.leads, timeout_s=FAILOVER_S)
    # All of them have been looked at once this one is: what is new goes first, what is Ready is looked at to be sure.
    looked_at = ("protoqueue_operator_reconcile_seconds_count", ("ConsumerGroup",))

    async def all_seen() -> bool:
        return (await second.replica.metrics()).get(looked_at, 0) >= len(groups)

    await eventually(all_seen, timeout_s=90)
    assert [each for each in second.writes() if "/status" in each.path or "/events" in each.path] == []
    assert await lab.statuses() == statuses


async def test_a_replica_that_cannot_watch_does_not_become_the_leader(lab: Lab, candidates: list[Candidate]) -> None:
    blind, other = candidates
    blind.detour.refuses = lambda request: 403 if request.query.get("watch") == "true" else None
    blind.replica.start()
    await eventually(lambda: sum(each.status == 403 for each in blind.detour.asked) > 5)
    assert not blind.looks(), "it does not even ask for the Lease"
    other.replica.start()
    await eventually(other.replica.leads)
    await lab.queue()
    await lab.ready()
    blind.detour.refuses = lambda _: None
    await eventually(blind.looks)
    assert not await blind.replica.leads()


async def test_a_standby_says_that_it_stands_by_and_for_whom(lab: Lab, candidates: list[Candidate]) -> None:
    first, second = candidates
    await lead(first, second)

    def said() -> bool:
        return any("standing by" in line and "holder=" in line for line in second.replica.log.read_text().splitlines())

    await eventually(said)


async def test_a_slow_api_server_costs_nobody_the_lead(lab: Lab, candidates: list[Candidate]) -> None:
    leader = candidates[0]
    leader.replica.start()
    await eventually(leader.replica.leads)
    leader.detour.delay_s = 5.0
    asked = leader.looks()
    await eventually(lambda: leader.looks() >= asked + 4, timeout_s=60)
    assert await leader.replica.leads()
    assert "leadership lost" not in leader.replica.log.read_text()


async def test_labels_and_annotations_of_a_lease_are_kept_and_its_record_is_client_gos(
    lab: Lab, candidates: list[Candidate], lease: str
) -> None:
    namespace, name = lease.split("/")
    metadata = {"name": name, "labels": {"team": "platform"}, "annotations": {"note": "ours"}}
    await lab.kube.create(LEASES, {"metadata": metadata, "spec": {}}, namespace)
    first, second = candidates
    await lead(first, second)
    body = await lab.kube.get(LEASES, name, namespace)
    assert (body["metadata"]["labels"], body["metadata"]["annotations"]) == ({"team": "platform"}, {"note": "ours"})
    spec = body["spec"]
    assert spec["leaseDurationSeconds"] == 15
    assert spec["acquireTime"] <= spec["renewTime"]
    transitions, acquired = spec["leaseTransitions"], spec["acquireTime"]
    renewed = spec["renewTime"]

    async def renewed_again() -> bool:
        spec = (await lab.kube.get(LEASES, name, namespace))["spec"]
        assert (spec["leaseTransitions"], spec["acquireTime"]) == (transitions, acquired), "the same holder"
        return bool(spec["renewTime"] > renewed)

    await eventually(renewed_again)
    await asyncio.to_thread(first.replica.stop)
    await eventually(second.replica.leads, timeout_s=FAILOVER_S)
    after = await lab.kube.get(LEASES, name, namespace)
    assert after["spec"]["leaseTransitions"] > transitions
    assert after["spec"]["acquireTime"] > acquired
    assert after["metadata"]["labels"] == {"team": "platform"}


async def test_a_leader_cut_off_from_the_api_stops_before_the_other_begins(
    lab: Lab, candidates: list[Candidate]
) -> None:
    first, second = candidates
    await lead(first, second)
    await lab.queue()
    await lab.ready()
    first.detour.open.clear()
    cut = time.monotonic()
    await lab.queue("during")
    await eventually(lambda: "leadership lost" in first.replica.log.read_text(), timeout_s=FAILOVER_S)
    assert not await second.replica.leads(), "the one stopped by itself before the other began"
    await lab.ready(queues=("during",), timeout_s=FAILOVER_S)
    assert time.monotonic() - cut < 2 * FAILOVER_S
    assert not [each for each in first.writes() if each.at > cut]
    assert first.replica.exit_code is None, "it goes on as a standby, which looks like what it is"
    first.detour.open.set()
    await asyncio.to_thread(second.replica.stop)
    await lab.queue("after")
    await lab.ready(queues=("after",), timeout_s=FAILOVER_S)
    assert await first.replica.leads()


async def test_a_leader_whose_lease_was_taken_stands_by(lab: Lab, candidates: list[Candidate], lease: str) -> None:
    leader = candidates[0].replica
    leader.start()
    await eventually(leader.leads)
    namespace, name = lease.split("/")

    async def taken() -> bool:
        body = await lab.kube.get(LEASES, name, namespace)
        spec = body["spec"] | {"holderIdentity": "another"}
        patch = {"metadata": {"resourceVersion": body["metadata"]["resourceVersion"]}, "spec": spec}
        try:
            await lab.kube.merge(LEASES, patch, name, namespace)
        except ApiError as error:
            return error.code != 409
        return True

    await eventually(taken)
    await eventually(lambda: "standing by" in leader.log.read_text(), timeout_s=FAILOVER_S)
    assert leader.exit_code is None
    assert not await leader.leads()


@pytest.mark.parametrize("renewed", ["1999-01-01T00:00:00.000000Z", "2999-01-01T00:00:00.000000Z"])
async def test_a_lease_is_judged_by_its_changes_and_not_by_anybodys_clock(
    lab: Lab, candidates: list[Candidate], lease: str, renewed: str
) -> None:
    namespace, name = lease.split("/")
    spec = {"holderIdentity": "another", "leaseDurationSeconds": 15, "renewTime": renewed}
    await lab.kube.create(LEASES, {"metadata": {"name": name}, "spec": spec}, namespace)
    candidate, started = candidates[0].replica, time.monotonic()
    candidate.start()
    await eventually(candidate.metrics)
    seen = time.monotonic()
    await eventually(candidate.leads, timeout_s=FAILOVER_S)
    assert time.monotonic() - started > 14, "whatever its clock says, the holder may live"
    assert time.monotonic() - seen < FAILOVER_S, "nor is it waited for for ever"


async def test_a_deleted_lease_is_written_anew_by_its_holder(lab: Lab, candidates: list[Candidate], lease: str) -> None:
    first, second = candidates
    await lead(first, second)
    namespace, name = lease.split("/")
    await eventually(second.looks)
    first.detour.open.clear()
    body = await lab.kube.get(LEASES, name, namespace)
    await lab.kube.delete(LEASES, name, namespace, body["metadata"]["uid"])
    looks = second.looks()
    await eventually(lambda: second.looks() > looks + 1)
    assert not await second.replica.leads(), "the holder does not know yet, and acts"
    first.detour.open.set()

    async def written() -> bool:
        try:
            return (await lab.kube.get(LEASES, name, namespace))["spec"]["holderIdentity"] != ""
        except ApiError:
            return False

    await eventually(written)
    await lab.queue()
    await lab.ready()
    assert [await each.replica.leads() for each in candidates].count(True) == 1
    written_by = [bool(each.writes()) for each in candidates]
    assert written_by.count(True) == 1, "only one has acted"
