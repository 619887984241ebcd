"""What a Secret names may be a NATS that is broken, slow, or none: its own queues say so, and others go on."""

from cluster.lab import Lab
from hostile.peers import Peer, answering
from protoqueue_devcluster.kube.client import QUEUES

NOTHING = b'{"error": {"code": 404, "err_code": 10059, "description": "there is nothing"}}'
SLOW = [f"slow{number}" for number in range(40)]


async def test_servers_that_answer_nonsense_or_late_cost_the_queues_that_name_them_and_no_others(lab: Lab) -> None:
    async with Peer(answering(b"[]")) as mad, Peer(answering(NOTHING, after_s=1.5)) as slow:
        for name, peer in (("mad", mad), ("slow", slow)):
            await lab.secret(name, url=f"nats://127.0.0.1:{peer.port}")
        await lab.queue("mad", nats={"connectionSecretRef": {"name": "mad"}})
        condition = await lab.condition(QUEUES, "mad", status="False", reason="NatsUnavailable")
        assert "answers that are not JetStream's" in condition["message"]
        await lab.queue("first", nats={"connectionSecretRef": {"name": "slow"}})
        await lab.condition(QUEUES, "first", status="False", reason="NatsRefused")  # from now on it is connected
        for name in SLOW:
            await lab.queue(name, nats={"connectionSecretRef": {"name": "slow"}})
        await lab.queue("well")
        await lab.ready(queues=("well",))
        waiting = [name for name in SLOW if not (await lab.get(QUEUES, name)).get("status")]
        assert len(waiting) > len(SLOW) / 2, "it did not wait for those that were made before it"
