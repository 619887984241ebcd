"""The command line with `--server`: the same words, over HTTP."""

import asyncio
import json
from collections.abc import Callable

import pytest

from gateway.api import Api
from terminal import PROTOQUEUE, environment
from waiting import eventually

Run = Callable[..., object]


@pytest.fixture
def cli(api: Api):
    """Run `protoqueue --server …`: exit status, stdout, stderr. It knows neither NATS nor Kubernetes."""

    async def run(*words: str, key: str | None = api.key, stdin: str = "") -> tuple[int, str, str]:
        env = environment(**({} if key is None else {"PROTOQUEUE_API_KEY": key})) | {"PATH": "/nowhere"}
        process = await asyncio.create_subprocess_exec(
            PROTOQUEUE, "--server", api.url, *words,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=env,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 100)
        return process.returncode or 0, out.decode(), err.decode()

    return run


async def test_tasks_are_enqueued_counted_cancelled_and_purged(api: Api, name: str, cli) -> None:
    await api.queue(name)
    queue = f"default/{name}"
    status, out, err = await cli("enqueue", queue, '{"to": "ada"}', "-t", "mail", "-p", "9", "-o", "json")
    assert status == 0, err
    (receipt,) = json.loads(out)
    lines = "".join(f"{number}\n" for number in range(150))
    status, out, _ = await cli("enqueue", queue, "-", "-o", "yaml", stdin=lines)
    assert (status, out.count("- id: ")) == (0, 150), "more than one batch of the gateway"
    _, out, _ = await cli("stats", queue, "-o", "json")
    stats = json.loads(out)
    assert (stats["queue"], stats["waiting"], stats["groups"][name]["waiting"]) == (queue, 151, 151)
    _, out, _ = await cli("stats")
    assert any(line.split()[:3] == [queue, "Active", "151"] for line in out.splitlines())
    _, out, _ = await cli("top", "--interval", "0.1", "-o", "json")
    (row,) = [row for row in json.loads(out) if row["queue"] == queue]
    assert (row["waiting"], row["completions_per_s"]) == (151, None)
    assert (await cli("cancel", queue, receipt["id"]))[0] == 0
    status, out, _ = await cli("cancel", queue, receipt["id"])
    assert (status, out.split()[-1]) == (1, "no")
    assert (await cli("purge", queue, "--yes", "-o", "json"))[1] == '{\n  "removed": 150\n}\n'


async def test_a_queue_is_paused_and_why_says_so(api: Api, name: str, cli) -> None:
    await api.queue(name)
    queue = f"default/{name}"
    await api.enqueue(name, 1)
    assert await cli("pause", queue) == (0, f"{queue} paused\n", "")
    status, out, _ = await cli("why", queue)
    assert status == 0
    assert "Paused: the queue is paused" in out
    assert f"→ protoqueue resume {queue}" in out
    assert "1 waiting" in out
    assert (await cli("resume", queue, "-o", "json"))[0] == 0

    async def resumed() -> bool:
        return "No problems found." in (await cli("why", queue))[1]

    await eventually(resumed)


async def test_dead_letters_are_listed_shown_redriven_and_deleted(api: Api, name: str, cli) -> None:
    await api.queue(name)
    queue = f"default/{name}"
    await api.enqueue(name, {"n": 1}, {"n": 2})
    for message in await api.receive(name):
        await api("POST", f"/v1/queues/{name}/messages/{message['receipt']}/reject", {"reason": "no such address"})

    async def letters() -> list[dict]:
        return json.loads((await cli("dead", "list", queue, "-o", "json"))[1] or "[]")

    found = await eventually(letters)
    assert len(found) == 2
    assert {(letter["reason"], letter["error"]) for letter in found} == {("Rejected", "no such address")}
    _, out, _ = await cli("dead", "show", queue, found[0]["task"]["id"])
    assert "no such address" in out
    assert '{"n"' in out
    _, out, _ = await cli("why", queue, "-o", "json")
    assert [finding["cause"] for finding in json.loads(out)["findings"]] == ["DeadLetters"]
    status, out, _ = await cli("dead", "delete", queue, found[0]["task"]["id"])
    assert (status, out) == (0, "1 dead letters deleted\n")
    status, _, err = await cli("dead", "redrive", queue, found[1]["task"]["id"])
    assert (status, "--reason" in err) == (1, True)
    assert (await cli("dead", "redrive", queue, "--reason", "Rejected"))[:2] == (0, "1 dead letters redriven\n")
    assert await letters() == []


async def test_what_goes_wrong_is_one_sentence(api: Api, name: str, cli, keys) -> None:
    status, _, err = await cli("stats", f"default/{name}-not-there")
    assert (status, "does not exist" in err or "no queue" in err) == (1, True), err
    status, _, err = await cli("stats", f"default/{name}", key=None)
    assert (status, "PROTOQUEUE_API_KEY" in err) == (1, True)
    status, _, err = await cli("stats", f"default/{name}", key="pq_wrong_key")
    assert (status, "HTTP 401" in err) == (1, True)
    reading = await keys.make({"queues": ["*"], "actions": ["read"]})

    async def is_known() -> bool:
        return (await api.with_key(reading)("GET", "/v1/queues")).status == 200

    await eventually(is_known)
    await api.queue(name)
    status, _, err = await cli("enqueue", f"default/{name}", "1", key=reading)
    assert (status, "does not allow to enqueue" in err) == (1, True)
    assert "Traceback" not in err
