"""NATS goes away and comes back; what shows, and what must not be held up."""

import time
from pathlib import Path

from aiohttp import web

from cluster.detour import Detour
from cluster.lab import Lab
from cluster.operator_process import OperatorProcess
from cluster.replica import Replica
from nats_server import NatsServer
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, NAMESPACES, QUEUES, ApiError
from silent_nats import SilentNats
from waiting import eventually


async def test_nats_away_is_a_condition_and_passes_with_the_outage(lab: Lab, server: NatsServer) -> None:
    await lab.queue()
    await lab.group()
    await lab.ready(groups=("mailers",))
    server.kill()
    try:
        condition = await lab.condition(QUEUES, "email", status="False", reason="NatsUnavailable")
        assert server.url in condition["message"]
        await lab.condition(CONSUMER_GROUPS, "mailers", status="False", reason="NatsUnavailable")
        await lab.queue("another")
        await lab.condition(QUEUES, "another", status="False", reason="NatsUnavailable")
    finally:
        await server.start()
    await lab.ready(queues=("email", "another"), groups=("mailers",))


async def test_a_backlog_that_is_unknown_holds_the_size(lab: Lab, server: NatsServer) -> None:
    template = {"spec": {"containers": [{"name": "idle", "image": "none", "command": ["sleep", "1000"]}]}}
    autoscale = {"maxReplicas": 3, "target": {"tasksPerWorker": 1}, "scaleDownDelay": "1s", "idleDelay": "1s"}
    await lab.queue()
    await lab.group(worker={"template": template}, autoscale=autoscale)
    await lab.ready(groups=("mailers",))
    async with await lab.client() as client:
        queue = await client.queue(f"{lab.namespace}/email")
        await queue.enqueue({"n": 1})
        await queue.enqueue({"n": 2})

    async def scaled() -> bool:
        return await lab.replicas() == 2

    await eventually(scaled)
    server.kill()
    try:
        await lab.condition(CONSUMER_GROUPS, "mailers", "Scaling", status="Unknown", reason="BacklogUnknown")
        assert await lab.replicas() == 2
    finally:
        await server.start()
    await lab.condition(CONSUMER_GROUPS, "mailers", "Scaling", status="True")
    assert await lab.replicas() == 2


async def test_a_queue_to_be_kept_is_deleted_while_nats_is_away(lab: Lab, server: NatsServer) -> None:
    await lab.queue(deletionPolicy="Retain")
    await lab.ready()
    server.kill()
    try:
        await lab.delete(QUEUES, "email")
        await lab.gone(QUEUES, "email")
    finally:
        await server.start()
    assert await lab.stream() is not None


async def test_streams_to_be_deleted_wait_for_nats(lab: Lab, server: NatsServer) -> None:
    await lab.queue(deletionPolicy="Delete")
    await lab.ready()
    server.kill()
    try:
        await lab.delete(QUEUES, "email")
        await lab.condition(QUEUES, "email", status="False", reason="NatsUnavailable")
    finally:
        await server.start()
    await lab.gone(QUEUES, "email")
    assert await lab.stream() is None


async def test_a_namespace_goes_although_nats_is_away(lab: Lab, server: NatsServer) -> None:
    await lab.queue(deletionPolicy="Delete")
    await lab.group()
    await lab.ready(groups=("mailers",))
    server.kill()
    try:
        await lab.delete_namespace()

        async def is_gone() -> bool:
            try:
                await lab.kube.get(NAMESPACES, lab.namespace)
            except ApiError as error:
                return error.code == 404
            return False

        await eventually(is_gone)
    finally:
        await server.start()


async def test_a_namespace_goes_although_the_role_in_it_has_gone_first(
    lab: Lab, server: NatsServer, kubeconfig: Path, tmp_path: Path, operator: OperatorProcess
) -> None:
    """What the chart binds from outside, where it names namespaces, is left: its own kinds, and whether it goes."""
    operator.stop()
    detour = Detour(kubeconfig, tmp_path)
    await detour.start()
    replica = Replica(detour.kubeconfig, server.url, tmp_path, "--namespace", lab.namespace)
    replica.start()
    try:
        await lab.secret("account", url=server.url)
        await lab.queue(deletionPolicy="Delete", nats={"connectionSecretRef": {"name": "account"}})
        await lab.group()
        await lab.ready(groups=("mailers",))

        def without_role(request: web.Request) -> int | None:
            inside = f"/namespaces/{lab.namespace}/"
            kinds = (f"{inside}queues", f"{inside}consumergroups")
            is_left = any(kind in request.path for kind in kinds) and not request.path.endswith("/status")
            return None if inside not in request.path or is_left else 403

        detour.refuses = without_role
        await lab.delete_namespace()

        async def is_gone() -> bool:
            try:
                await lab.kube.get(NAMESPACES, lab.namespace)
            except ApiError as error:
                return error.code == 404
            return False

        await eventually(is_gone, timeout_s=120)
    finally:
        replica.kill()
        await detour.stop()
        operator.start()


async def test_a_bucket_kept_in_memory_is_made_anew_as_soon_as_nats_is_back(lab: Lab, server: NatsServer) -> None:
    await lab.queue(rateLimit={"tasks": 5})
    await lab.ready()
    assert "error" not in await lab.api("STREAM.INFO.KV_pq-rate")
    server.kill()
    await server.start()

    async def is_there() -> bool:
        return lab.nats.is_connected and "error" not in await lab.api("STREAM.INFO.KV_pq-rate")

    await eventually(is_there)


SILENT = 48
"""Three times as many as are looked at together."""


async def test_a_server_that_answers_nothing_holds_up_nobody_elses_queues(lab: Lab, server: NatsServer) -> None:
    way = SilentNats(server.port)
    await way.start()
    try:
        await lab.secret("silent", url=way.url)
        await lab.queue("first", nats={"connectionSecretRef": {"name": "silent"}})
        await lab.ready(queues=("first",))
        way.is_silent = True
        silent = [f"silent-{number}" for number in range(SILENT)]
        for name in silent:
            await lab.queue(name, nats={"connectionSecretRef": {"name": "silent"}})
        await lab.queue("last")
        await lab.ready(queues=("last",))
        for name in silent:
            await lab.condition(QUEUES, name, status="False", reason="NatsUnavailable")
        # From now on nobody waits for it at all, however often its queues are looked at.
        started, lost = time.monotonic(), way.lost
        for number in range(5):
            for name in silent:
                await lab.queue(name, visibilityTimeout=f"{31 + number}s")
            await lab.queue("last", visibilityTimeout=f"{31 + number}s")
            await lab.ready(queues=("last",))
        took_s = time.monotonic() - started
        assert way.lost - lost <= took_s, "it is asked once at a time, and waited for"
        way.is_silent = False
        await lab.ready(queues=("first", *silent))
    finally:
        await way.stop()
