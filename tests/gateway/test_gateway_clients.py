"""The HTTP clients against a real gateway: what the ancestor's README shows, consumers, refusals."""

import asyncio
import re
import secrets
import threading
from collections.abc import Mapping

import pytest

from clients.toolchains import GO, build_typescript, run
from gateway.gateway_process import GatewayProcess
from protoqueue import http


@pytest.fixture
def variables(gateway: GatewayProcess, admin_key: str) -> Mapping[str, str]:
    return {"PROTOQUEUE_GATEWAY_URL": gateway.url, "PROTOQUEUE_API_KEY": admin_key}


async def test_the_typescript_client_works_with_a_gateway(variables: Mapping[str, str]) -> None:
    folder = await asyncio.to_thread(build_typescript)
    command = ("node", "--test", "--test-reporter=tap", "build/test/gateway.test.js")
    output = await asyncio.to_thread(run, *command, folder=folder, **variables)
    assert "# fail 0" in output, output
    assert re.search("^# skipped 0$", output, re.MULTILINE), output


async def test_the_go_client_works_with_a_gateway(variables: Mapping[str, str]) -> None:
    command = ("go", "test", "-count=1", "-v", "-run", "Gateway|AThousand", "./...")
    output = await asyncio.to_thread(run, *command, folder=GO, **variables)
    assert output.count("--- PASS") == 3, output


async def test_what_the_readme_shows_in_python_works(gateway: GatewayProcess, admin_key: str) -> None:
    await asyncio.to_thread(readme, http.Queues(admin_key, gateway.url), f"email-{secrets.token_hex(3)}")


def readme(queues: http.Queues, name: str) -> None:
    config = {
        "max_retries": 3,
        "visibility_timeout": 30,
        "dead_letter_queue": f"{name}-dlq",
        "rate_limit": {"requests": 100, "per": "second"},
    }
    assert queues.create(name=name, config=config).name == name
    sent = {"to": "user@example.com", "template": "welcome"}
    message = queues.enqueue(queue=name, payload=sent, priority=1, delay=60, dedup_id="welcome-user-123")
    assert not message.duplicate
    assert queues.enqueue(queue=name, payload=sent, priority=1, delay=60, dedup_id="welcome-user-123").duplicate
    assert queues.stats(name).scheduled == 1
    queues.enqueue_batch(queue=name, messages=[{"payload": number} for number in range(3)])
    messages = queues.receive(queue=name, max_messages=10)
    while len(messages) < 3:
        messages += queues.receive(queue=name, max_messages=10)
    for msg in messages:
        queues.ack(msg.id)
    queues.enqueue(queue=name, payload="later")
    (msg,) = queues.receive(queue=name, max_messages=10)
    queues.nack(msg.id, delay=0)
    (again,) = queues.receive(queue=name, max_messages=10)
    assert (again.id, again.attempt) == (msg.id, 2)
    queues.reject(again.id, "never")
    (letter,) = queues.receive(queue=f"{name}-dlq", max_messages=10)
    assert letter.dead_letter is not None
    assert (letter.id, letter.payload, letter.dead_letter["error"]) == (again.id, "later", "never")
    queues.ack(letter.id)
    assert queues.stats(name).dead == 0
    with pytest.raises(http.Conflict):
        queues.create(name=name, config={"max_retries": 7})


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_consumer_in_python_works_on_each_message_once(
    kind: str, gateway: GatewayProcess, admin_key: str
) -> None:
    name = f"many-{secrets.token_hex(3)}"
    queues = http.Queues(admin_key, gateway.url)
    await asyncio.to_thread(queues.create, name, {"visibility_timeout": 60})
    for start in range(0, 500, 100):
        batch = [{"payload": start + number} for number in range(100)]
        await asyncio.to_thread(queues.enqueue_batch, name, batch)
    seen: list[int] = []
    lock = threading.Lock()

    def work(message: http.Message) -> None:
        with lock:
            seen.append(message.decode(int))
            if len(seen) == 500:
                queues.stop()

    async def work_async(message: http.Message) -> None:
        work(message)

    queues.consumer(name, concurrency=50)(work_async if kind == "async" else work)
    await asyncio.to_thread(queues.run)
    assert sorted(seen) == list(range(500))
    stats = await asyncio.to_thread(queues.stats, name)
    assert (stats.waiting, stats.in_flight, stats.dead) == (0, 0, 0)
