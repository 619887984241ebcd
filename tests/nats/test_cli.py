"""The command line, as a process."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from nats_server import NatsServer
from protoqueue import Reject
from provisioning import GroupSpec
from waiting import eventually

Run = Callable[..., Any]

LOGGING = """
import logging
orders = logging.getLogger("orders")

@worker.handler("async")
async def run(task: Task) -> None:
    orders.info("async\\n{")

@worker.handler("plain")
def run_plainly(task: Task) -> None:
    orders.info("plain\\n{")

@worker.handler("fails")
async def fail(task: Task) -> None:
    orders.info("fails\\n{")
    raise ValueError
"""


@pytest.fixture
def cli(server: NatsServer, tmp_path: Path) -> Run:
    """Run `protoqueue` to its end: (exit status, stdout, stderr)."""

    async def run(*words: str, stdin: str = "", url: str = server.url) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "protoqueue"), *words,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=os.environ | {"PROTOQUEUE_NATS_URL": url}, cwd=tmp_path,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
        return process.returncode or 0, out.decode(), err.decode()

    return run


async def test_enqueue_stats_and_peek_speak_json(make_queue, cli) -> None:
    queue = await make_queue()
    status, out, _ = await cli("enqueue", queue.name, '{"to": "a"}', "--type", "mail", "-p", "9", "-o", "json")
    assert status == 0
    (receipt,) = json.loads(out)
    status, out, _ = await cli("enqueue", queue.name, "-", "-o", "json", stdin="1\n2\n\n3\n")
    assert (status, len(json.loads(out))) == (0, 3)
    _, out, _ = await cli("stats", queue.name, "-o", "json")
    stats = json.loads(out)
    assert (stats["queue"], stats["ready"], stats["scheduled"], stats["dead"]) == (queue.name, 4, 0, 0)
    assert stats["groups"]["mailers"]["levels"] == {"0": 0, "1": 3, "2": 1}
    assert stats["oldest_age"] > 0
    _, out, _ = await cli("peek", queue.name, "-n", "1", "-o", "json")
    (task,) = json.loads(out)
    assert (task["id"], task["payload"], task["type"], task["priority"]) == (receipt["id"], '{"to":"a"}', "mail", 9)
    _, out, _ = await cli("purge", queue.name, "--yes", "-o", "json")
    assert json.loads(out) == {"removed": 4}


async def test_enqueue_takes_moments_durations_and_metadata(make_queue, cli) -> None:
    queue = await make_queue()
    status, _, _ = await cli("enqueue", queue.name, "1", "--metadata", "tenant=acme", "--metadata", "note=a=b")
    (task,) = await queue.receive(group="mailers")
    assert (status, dict(task.metadata)) == (0, {"tenant": "acme", "note": "a=b"})
    await task.ack()
    for options in (
        ("--at", "2100-01-01T00:00+01:00"),
        ("--delay", "1h30m"),
        ("-d", "60.5"),
        ("--at", "2100-01-01T00:00Z", "--expires", "2100-01-01T00:00:01Z"),
    ):
        assert await cli("enqueue", queue.name, "1", *options) == (0, ANY, ""), options
    assert (await queue.stats()).scheduled == 4
    for expires in ("1s", "1"):
        await cli("enqueue", queue.name, "1", "--expires", expires)

    async def expired() -> bool:
        return (await queue.stats()).ready == 0

    await eventually(expired)


async def test_cancel_says_of_each_task_whether_it_was_there(make_queue, cli) -> None:
    queue = await make_queue()
    kept, waits = await queue.enqueue_batch([1, 2])
    later = await queue.enqueue(3, delay=60)
    status, out, _ = await cli("cancel", queue.name, waits.id, later.id, "-o", "json")
    assert (status, json.loads(out)) == (0, [{"id": gone.id, "cancelled": True} for gone in (waits, later)])
    status, out, _ = await cli("cancel", queue.name, waits.id)
    assert (status, [line.split() for line in out.splitlines()]) == (1, [["ID", "CANCELLED"], [waits.id, "no"]])
    assert [task.id for task in await queue.peek()] == [kept.id]


async def test_a_table_in_a_pipe_cuts_nothing(make_queue, cli) -> None:
    queue = await make_queue()
    await queue.enqueue({"text": "x" * 40}, type="a-rather-long-type-of-task-that-has-a-name")
    _, out, _ = await cli("peek", queue.name)
    header, row = out.splitlines()
    assert header.split() == ["ID", "TYPE", "PRIORITY", "ATTEMPT", "ENQUEUED", "PAYLOAD"]
    assert "a-rather-long-type-of-task-that-has-a-name" in row
    assert "x" * 40 in row


async def test_dead_letters_are_listed_shown_redriven_and_deleted(make_queue, make_worker, start, cli) -> None:
    queue = await make_queue()
    worker = make_worker()

    @worker.handler
    async def refuse(payload: int) -> None:
        raise Reject(f"no {payload}s [here]")

    receipts = await queue.enqueue_batch([1, 2, 3])
    start(worker)

    async def buried() -> bool:
        return (await queue.stats()).dead == 3

    await eventually(buried)
    worker.stop()
    _, out, _ = await cli("dead", "list", queue.name, "-o", "json")
    letters = json.loads(out)
    assert {letter["task"]["id"] for letter in letters} == {receipt.id for receipt in receipts}
    assert {letter["reason"] for letter in letters} == {"Rejected"}
    _, out, _ = await cli("dead", "list", queue.name)
    assert len(out.splitlines()) == 4
    assert "no 1s [here]" in out
    _, out, _ = await cli("dead", "show", queue.name, receipts[0].id, "-o", "json")
    assert json.loads(out)["task"]["payload"] == "1"
    status, _, err = await cli("dead", "redrive", queue.name)
    assert status == 1
    assert "--all" in err
    _, out, _ = await cli("dead", "redrive", queue.name, receipts[0].id, "-o", "json")
    assert json.loads(out) == {"redriven": 1}
    _, out, _ = await cli("dead", "delete", queue.name, receipts[1].id, "-o", "json")
    assert json.loads(out) == {"deleted": 1}
    _, out, _ = await cli("dead", "redrive", queue.name, "--all", "-o", "json")
    assert json.loads(out) == {"redriven": 1}
    stats = await queue.stats()
    assert (stats.ready, stats.dead) == (2, 0)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("stats", "default/nowhere"), "kubectl wait"),
        (("stats", "nowhere"), "<namespace>/<name>"),
        (("enqueue", "QUEUE", "{not json"), "--raw"),
        (("enqueue", "QUEUE", "1", "-p", "99"), "error: priority 99"),
        (("worker", "nowhere"), "package.module:worker"),
        (("worker", "nowhere:worker"), "no module nowhere"),
        (("worker", "json:worker"), "has no worker"),
        (("worker", "json:dumps"), "not a protoqueue.Worker"),
        (("enqueue", "QUEUE", "1", "--file", "tasks.jsonl"), "in place of a payload"),
        (("enqueue", "QUEUE", "1", "--delay", "soon"), "--delay: 'soon' is no duration: write 500ms"),
        (("enqueue", "QUEUE", "1", "--delay", "-5"), "cannot be negative"),
        (("enqueue", "QUEUE", "1", "--delay", "5", "--at", "2030-01-01T00:00Z"), "delay or at, not both"),
        (("enqueue", "QUEUE", "1", "--at", "tomorrow"), "--at: 'tomorrow' cannot be read: write 20"),
        (("enqueue", "QUEUE", "1", "--at", "2030-01-01T00:00"), "says no time zone: add Z"),
        (("enqueue", "QUEUE", "1", "--expires", "soon"), "--expires: 'soon' cannot be read: write 1m30s or 20"),
        (("enqueue", "QUEUE", "1", "--expires", "2020-01-01T00:00Z"), "expire before it is due"),
        (("enqueue", "QUEUE", "1", "--metadata", "tenant"), "--metadata: 'tenant' is not of the form key=value"),
        (("enqueue", "QUEUE", "1", "--metadata", "a=1", "--metadata", "a=2"), "--metadata: 'a' is there twice"),
        (("dead", "show", "QUEUE", "x"), "no dead letter"),
    ],
)
async def test_what_goes_wrong_is_one_sentence_and_status_1(make_queue, cli, words: tuple[str, ...], says: str) -> None:
    queue = await make_queue()
    status, out, err = await cli(*(queue.name if word == "QUEUE" else word for word in words))
    assert (status, out) == (1, "")
    assert says in err
    assert "Traceback" not in err


@pytest.mark.parametrize(("command", "done"), [("redrive", "redriven"), ("delete", "deleted")])
async def test_an_id_that_no_dead_letter_has_is_told(make_queue, make_worker, cli, command: str, done: str) -> None:
    queue, worker = await make_queue(), make_worker()

    @worker.handler
    async def refuse(payload: int) -> None:
        raise Reject("no")

    receipt = await queue.enqueue(1)
    await worker.run_once()
    status, out, err = await cli("dead", command, queue.name, receipt.id, "mistyped", "-o", "json")
    assert (status, json.loads(out)) == (1, {done: 1})
    assert "no such dead letter: mistyped" in err


async def test_without_nats_commands_end_with_a_sentence(cli) -> None:
    status, _, err = await cli("stats", "default/email", url="nats://127.0.0.1:1")
    assert status == 1
    (said,) = err.splitlines()
    assert "no NATS server answered at nats://127.0.0.1:1" in said


async def test_the_version_is_that_of_the_distribution(cli) -> None:
    assert await cli("--version") == (0, f"{version('protoqueue')}\n", "")


async def test_a_reason_that_no_dead_letter_has_is_refused_and_those_that_are_known_are_listed(cli) -> None:
    status, _, err = await cli("dead", "delete", "default/email", "--reason", "Mislaid")
    assert status == 2
    assert "Undecodable" in err


async def test_watching_stats_goes_on_until_interrupted(make_queue, server) -> None:
    queue = await make_queue()
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "protoqueue"), "stats", queue.name, "-w", "-o", "json", "--interval", "0.1",
        stdout=asyncio.subprocess.PIPE, env=os.environ | {"PROTOQUEUE_NATS_URL": server.url},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )  # fmt: skip
    assert process.stdout is not None
    lines = [json.loads(await asyncio.wait_for(process.stdout.readline(), 20)) for _ in range(2)]
    await queue.enqueue(1)
    while lines[-1]["ready"] != 1:
        lines.append(json.loads(await asyncio.wait_for(process.stdout.readline(), 20)))
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 20) == 130


async def test_empty_lists_say_so_on_stderr_and_are_empty_lists_in_json(make_queue, cli) -> None:
    queue = await make_queue()
    for words, said in (
        (("peek", queue.name), f"no task waits or runs in {queue.name}"),
        (("dead", "list", queue.name), f"no dead letters in {queue.name}"),
        (("dead", "list", queue.name, "--type", "mail"), f"no such dead letters in {queue.name}"),
        (("enqueue", queue.name, "-"), "no lines: nothing was enqueued"),
    ):
        assert await cli(*words) == (0, "", said + "\n")
        status, out, err = await cli(*words, "-o", "json")
        assert (status, json.loads(out), err) == (0, [], "")


@pytest.mark.parametrize("command", ["peek", "dead list", "stats"])
async def test_options_of_the_connection_stand_before_or_after_the_command(make_queue, cli, server, command) -> None:
    queue = await make_queue()
    words, nowhere = command.split(), "nats://127.0.0.1:9"
    for line in (
        ("--nats", server.url, *words, queue.name),
        (*words, "--nats", server.url, queue.name),
        ("--nats", nowhere, *words, queue.name, "--nats", server.url),
    ):
        status, _, err = await cli(*line, url=nowhere)
        assert status == 0, err


async def test_the_worker_command_finds_modules_in_the_current_directory_and_serves_its_health(
    make_queue, processes, monkeypatch
) -> None:
    import urllib.request

    from protoqueue_devcluster.processes import free_port

    port = free_port()
    monkeypatch.setenv("PROTOQUEUE_METRICS_PORT", str(port))
    queue = await make_queue(GroupSpec())
    worker = processes("@worker.handler('mail')\nasync def work(payload: int) -> None:\n    tell(payload)\n")
    await queue.enqueue(1, type="mail")
    await eventually(lambda: worker.told == ["1"])

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.read().decode()

    def counted() -> bool:
        return f'protoqueue_tasks_total{{group="mailers",outcome="Done",queue="{queue.name}",type="mail"}} 1.0' in get(
            "/metrics"
        )

    await eventually(lambda: asyncio.to_thread(counted))
    assert json.loads(await asyncio.to_thread(get, "/healthz")) == {"status": "ok"}
    assert json.loads(await asyncio.to_thread(get, "/readyz")) == {"status": "ok"}


async def test_log_lines_of_a_worker_and_of_its_handlers_are_json_and_name_the_attempt(
    make_queue, processes, monkeypatch
) -> None:
    monkeypatch.setenv("PROTOQUEUE_LOG_FORMAT", "json")
    queue = await make_queue(GroupSpec(retry={"max_attempts": 2, "initial_delay": 0.05}))
    worker = processes(LOGGING)
    receipts = {kind: await queue.enqueue(1, type=kind) for kind in ("async", "plain", "fails")}

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in worker.log.read_text().splitlines()]

    await eventually(lambda: any(line["message"].startswith("task failed for good") for line in lines()))
    for kind, attempts in (("async", [1]), ("plain", [1]), ("fails", [1, 2])):
        mine = [line for line in lines() if line.get("task") == receipts[kind].id and line["logger"] == "orders"]
        assert [(line["message"], line["attempt"]) for line in mine] == [(f"{kind}\n{{", n) for n in attempts]
        assert {(line["queue"], line["group"]) for line in mine} == {(queue.name, "mailers")}
    last = lines()[-1]
    assert (last["level"], last["task"], last["attempt"], last["reason"]) == (
        "error", receipts["fails"].id, 2, "MaxAttempts",
    )  # fmt: skip
    assert "ValueError" in last["exception"]
    assert "task" not in lines()[0]


async def test_a_worker_whose_metrics_port_is_taken_works_all_the_same(make_queue, processes, monkeypatch) -> None:
    with socket.create_server(("", 0)) as taken:
        monkeypatch.setenv("PROTOQUEUE_METRICS_PORT", str(taken.getsockname()[1]))
        queue = await make_queue(GroupSpec())
        worker = processes("@worker.handler\nasync def work(payload: int) -> None:\n    tell(payload)\n")
        await queue.enqueue(1)
        await eventually(lambda: worker.told == ["1"])


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (
            ("pause", "default/email"),
            'patch queues.protoqueue.dev/email -n default --type merge -p {"spec": {"paused": true}}',
        ),
        (
            ("resume", "default/email", "-g", "mailers"),
            'patch consumergroups.protoqueue.dev/mailers -n default --type merge -p {"spec": {"paused": false}}',
        ),
    ],
)
async def test_pause_and_resume_edit_the_resource(
    cli, tmp_path: Path, monkeypatch, words: tuple[str, ...], asked: str
) -> None:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\necho $@\n")
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert await cli(*words) == (0, f"{asked}\n", "")
    status, out, _ = await cli(*words, "-o", "json")
    group = words[-1] if "-g" in words else None
    assert (status, json.loads(out)) == (
        0, {"queue": "default/email", "group": group, "paused": words[0] == "pause"}
    )  # fmt: skip
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    status, _, err = await cli(*words)
    assert (status, "kubectl is not on PATH" in err) == (1, True)
