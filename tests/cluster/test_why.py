"""`protoqueue why` names cause and next step of what is broken, each seen in the whole system."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.lab import Lab
from ports import free_port
from protoqueue.cli.why import look
from protoqueue.diagnosis.diagnose import diagnose
from protoqueue.diagnosis.facts import Facts
from protoqueue.protocol.names import QueueName
from terminal import PROTOQUEUE, Terminal, environment
from waiting import eventually

WORKER = """
@worker.handler("hangs")
async def hang(payload: dict):
    await asyncio.sleep(3600)

@worker.handler("kills")
async def kill(payload: dict):
    os.kill(os.getpid(), signal.SIGKILL)

@worker.handler("fails")
async def fail(payload: dict):
    raise RuntimeError("the bank does not answer")
"""
ONE = {"minReplicas": 1, "maxReplicas": 1, "target": {"tasksPerWorker": 1}}


def running(script: str) -> dict[str, Any]:
    """A pod template."""
    container = {"name": "worker", "image": "none", "command": ["sh", "-c", script]}
    return {"spec": {"containers": [container], "terminationGracePeriodSeconds": 1}}


@pytest.fixture
def at_hand(lab: Lab, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """What a user has: kubectl with a kubeconfig, and NATS' address."""
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.setenv("PROTOQUEUE_NATS_URL", lab.nats_url)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    return lab


async def seen(lab: Lab, queue: str) -> Facts:
    return await look(QueueName(lab.namespace, queue), 0.2)


async def finds(lab: Lab, queue: str, cause: str, what: str, todo: str) -> None:
    """Wait until this is the first thing that it says of the queue."""

    async def found() -> bool:
        findings = diagnose(await seen(lab, queue))
        assert findings, "nothing was found"
        first = findings[0]
        assert (first.cause, what in first.what, todo in first.todo) == (cause, True, True), findings
        return True

    await eventually(found, interval_s=0.5)


async def test_each_broken_queue_has_its_cause_and_its_next_step(at_hand: Lab) -> None:
    lab = at_hand
    template = lab.worker_template(WORKER, PROTOQUEUE_CONCURRENCY="1")
    await lab.secret("empty", user="somebody", password="secret")
    await lab.secret("nobody", url=f"nats://127.0.0.1:{free_port()}")
    queues: dict[str, dict[str, Any]] = {
        "bad-secret": {"nats": {"connectionSecretRef": {"name": "empty"}}},
        "no-nats": {"nats": {"connectionSecretRef": {"name": "nobody"}}},
        "bad-spec": {"visibilityTimeout": "10ms"},
        "crashing": {},
        "no-image": {},
        "poisoned": {"visibilityTimeout": "1s", "retry": {"maxCrashes": 1}},
        "at-max": {},
        "paused": {"paused": True},
        "limited": {"rateLimit": {"tasks": 1, "per": "1h"}},
        "ordered": {"ordering": {"partitions": 1}, "retry": {"initialDelay": "1h", "maxDelay": "1h"}},
        "unserved": {},
        "alone": {},
    }
    for name, spec in queues.items():
        await lab.queue(name, **spec)
    failing = running("echo cannot go on; exit 3")
    imageless = {"spec": {"containers": [{"name": "worker", "image": "registry.example.com/typo:1"}]}}
    await lab.group("crashing", "crashing", worker={"template": failing}, replicas=1)
    await lab.group("no-image", "no-image", worker={"template": imageless}, replicas=1)
    for name in ("poisoned", "limited", "ordered"):
        await lab.group(name, name, worker={"template": template}, replicas=1)
    await lab.group("at-max", "at-max", worker={"template": template}, autoscale=ONE)
    await lab.group("paused", "paused")
    await lab.group("unserved", "unserved")
    await lab.ready(queues=tuple(queues.keys() - {"bad-secret", "no-nats", "bad-spec"}))
    async with await lab.client() as client:
        for name in ("crashing", "no-image", "at-max", "paused", "limited", "unserved"):
            queue = await client.queue(f"{lab.namespace}/{name}")
            await queue.enqueue_batch([{}, {}, {}])
        for _ in range(3):
            await (await client.queue(f"{lab.namespace}/at-max")).enqueue({}, type="hangs")
            await (await client.queue(f"{lab.namespace}/limited")).enqueue({}, type="hangs")
            await (await client.queue(f"{lab.namespace}/ordered")).enqueue({}, type="fails", ordering_key="a")
        await (await client.queue(f"{lab.namespace}/poisoned")).enqueue({}, type="kills")
    q = f"{lab.namespace}/"
    edit = f"-n {lab.namespace}"
    await asyncio.gather(
        finds(lab, "bad-secret", "SecretInvalid", "url", f"kubectl patch secret empty {edit}"),
        finds(lab, "no-nats", "NatsUnavailable", "no connection", "check that NATS runs"),
        finds(lab, "bad-spec", "InvalidSpec", "spec.visibilityTimeout", f"kubectl edit queue bad-spec {edit}"),
        finds(lab, "crashing", "CrashLooping", "exited with code 3", f"protoqueue logs {q}crashing --group crashing"),
        finds(lab, "no-image", "WrongImage", "registry.example.com/typo:1", "correct the image"),
        finds(lab, "poisoned", "PoisonTask", "of type kills killed", f"protoqueue dead show {q}poisoned "),
        finds(lab, "at-max", "AtMaximum", "at-max is at maxReplicas (1)", "raise spec.autoscale.maxReplicas"),
        finds(lab, "paused", "Paused", "the queue is paused", f"protoqueue resume {q}paused"),
        finds(lab, "limited", "RateLimited", "1 per 1h", f"kubectl edit queue limited {edit}"),
        finds(lab, "ordered", "StuckPartition", "waits for its retry", f"protoqueue cancel {q}ordered "),
        finds(lab, "unserved", "NoWorkers", "spec.worker is not set", "set spec.worker.template"),
        finds(lab, "alone", "NoGroup", "no consumer group", "apply a ConsumerGroup"),
    )
    await _is_one_screen(lab)
    status, said = await run("logs", f"{q}crashing", "--group", "crashing", "--previous")
    assert (status, "worker] cannot go on" in said) == (0, True), said
    status, said = await run("logs", f"{q}at-max", "--previous")
    assert (status, "protoqueue why" in said) == (1, True), said


async def _is_one_screen(lab: Lab) -> None:
    """As a user sees it, of one of them."""
    screen = Terminal(80, 24)
    at_hand = ("KUBECONFIG", "PROTOQUEUE_NATS_URL", "PATH")
    env = environment() | {name: os.environ[name] for name in at_hand}
    await screen.run(PROTOQUEUE, "why", f"{lab.namespace}/crashing", env=env, cwd=lab.directory)
    shown = screen.lines[next(n for n, line in enumerate(screen.lines) if line == f"{lab.namespace}/crashing") :]
    screen.close()
    assert len(shown) <= 24
    assert any(line.startswith("CrashLooping: 0 of 1 worker of crashing is available") for line in shown)
    assert any(line.startswith("  → see what it said last: protoqueue logs") for line in shown)
    assert any(line.split()[:4] == ["crashing", "3", "0", "0"] for line in shown)


async def run(*words: str) -> tuple[int, str]:
    """A command, with what the environment says; status, and all it printed."""
    process = await asyncio.create_subprocess_exec(
        PROTOQUEUE, *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    out, _ = await asyncio.wait_for(process.communicate(), 100)
    return process.returncode or 0, " ".join(out.decode().split())


async def test_logs_are_followed_into_pods_that_are_yet_to_come(at_hand: Lab) -> None:
    lab = at_hand
    await lab.queue()
    await lab.group(worker={"template": running("echo at work; sleep 999")}, replicas=0)
    await lab.ready(groups=("mailers",))
    name = f"{lab.namespace}/email"
    status, said = await run("logs", name)
    assert (status, said) == (1, f"error: there is no pod of the queue's groups: `protoqueue why {name}` says why")
    screen = Terminal(120, 24)
    await screen.start(PROTOQUEUE, "logs", name, "--follow", env={**os.environ})
    await eventually(lambda: "waiting for pods" in screen.text)
    await lab.group(replicas=1)
    await eventually(lambda: any(line.endswith("worker] at work") for line in screen.lines))
    screen.type("\x03")
    assert await screen.ended() == 130
    assert "Traceback" not in screen.text
    screen.close()
    assert (await run("logs", name))[1].endswith("worker] at work")
    assert (await run("logs", name, "--group", "others"))[0] == 1


async def test_without_nats_kubernetes_tells_and_without_kubernetes_nats(
    at_hand: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = at_hand
    await lab.queue()
    await lab.group()
    await lab.ready(groups=("mailers",))
    async with await lab.client() as client:
        await (await client.queue(f"{lab.namespace}/email")).enqueue({})
    with monkeypatch.context() as away:
        away.setenv("PROTOQUEUE_NATS_URL", f"nats://127.0.0.1:{free_port()}")
        (finding,) = diagnose(await seen(lab, "email"))
        assert finding.cause == "NatsAway"
        assert "PROTOQUEUE_NATS_URL" in finding.todo
    with monkeypatch.context() as away:
        away.setenv("KUBECONFIG", "/nowhere")
        facts = await seen(lab, "email")
        assert "conditions not shown: kubectl:" in facts.kubernetes_problem
        assert [found.cause for found in diagnose(facts)] == ["NoWorkers"]
