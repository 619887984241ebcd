"""The command line, as a process."""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import struct
import sys
import termios
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import yaml

from nats_server import NatsServer
from ports import free_port
from protoqueue import Reject, Throttle
from provisioning import GroupSpec, QueueSpec, provision
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


@pytest.fixture
def terminal(server: NatsServer, tmp_path: Path) -> Run:
    """Run `protoqueue` in a terminal of so many columns: the lines that it shows."""

    async def run(columns: int, *words: str) -> list[str]:
        mine, its = os.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "protoqueue"), *words,
            stdin=its, stdout=its, stderr=its, cwd=tmp_path,
            env={name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES")}
            | {"PROTOQUEUE_NATS_URL": server.url, "NO_COLOR": "1"},
        )  # fmt: skip
        os.close(its)
        shown = await asyncio.to_thread(_read_all, mine)
        await asyncio.wait_for(process.wait(), 60)
        return shown.decode().splitlines()

    return run


def _read_all(descriptor: int) -> bytes:
    """What comes until the other side of the terminal is closed."""
    read = b""
    with contextlib.suppress(OSError):
        while chunk := os.read(descriptor, 65536):
            read += chunk
    os.close(descriptor)
    return read


async def test_enqueue_stats_and_peek_speak_json(make_queue, cli) -> None:
    queue = await make_queue()
    status, out, _ = await cli("enqueue", queue.name, '{"to": "a"}', "--type", "mail", "-p", "9", "-o", "json")
    assert status == 0
    (receipt,) = json.loads(out)
    status, out, _ = await cli("enqueue", queue.name, "-", "-o", "json", stdin="1\n2\n\n3\n")
    assert (status, len(json.loads(out))) == (0, 3)
    _, out, _ = await cli("stats", queue.name, "-o", "json")
    stats = json.loads(out)
    assert (stats["queue"], stats["waiting"], stats["scheduled"], stats["dead"]) == (queue.name, 4, 0, 0)
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
        return (await queue.stats()).waiting == 0

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
    _, out, _ = await cli("dead", "show", queue.name, receipts[0].id)
    assert "in refuse" in out
    assert "Reject: no 1s [here]" in out.splitlines()[-1]
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
    assert (stats.waiting, stats.dead) == (2, 0)


@pytest.fixture
async def with_letters(make_queue, make_worker):
    """A queue with three dead letters whose error takes many lines."""
    queue, worker = await make_queue(), make_worker()

    @worker.handler
    async def refuse(payload: int) -> None:
        raise Reject(f"2 validation errors for Email\n  to\n    Field required\x1b[31m\n{'x' * 500}")

    await queue.enqueue_batch([1, 2, 3])
    await worker.run_once()
    return queue


async def test_each_dead_letter_is_one_line_with_an_id_that_can_be_copied(with_letters, cli, terminal) -> None:
    _, out, _ = await cli("dead", "list", with_letters.name, "-o", "json")
    ids = [letter["task"]["id"] for letter in json.loads(out)]
    for width in (80, 40):
        lines = await terminal(width, "dead", "list", with_letters.name)
        assert [line.split()[0] for line in lines] == ["ID", *ids]
        assert all(len(line) <= width for line in lines), lines
        assert lines[1].endswith("…")
    _, out, _ = await cli("dead", "list", with_letters.name)
    piped = out.splitlines()
    assert len(piped) == 4
    assert "Field required\\x1b[31m" in piped[1]
    assert all(len(line) < 350 and line == line.rstrip() for line in piped)
    _, out, _ = await cli("dead", "show", with_letters.name, ids[0])
    assert "x" * 500 in out


async def test_dead_letters_are_counted_by_reason_type_and_error(with_letters, cli) -> None:
    _, out, _ = await cli("dead", "summary", with_letters.name, "-o", "json")
    (one,) = json.loads(out)
    assert (one["count"], one["reason"], one["error_type"]) == (3, "Rejected", "Reject")
    _, out, _ = await cli("dead", "summary", with_letters.name)
    assert out.splitlines()[1].split()[:2] == ["3", "Rejected"]


@pytest.mark.parametrize("choice", [("--all",), ("--reason", "Rejected"), ("--limit", "3")])
async def test_deleting_dead_letters_that_are_not_named_asks_first(with_letters, cli, choice) -> None:
    for answer in ("n\n", ""):
        status, out, err = await cli("dead", "delete", with_letters.name, *choice, stdin=answer)
        assert (status, out.strip()) == (1, "")
        assert f"Delete 3 dead letters of {with_letters.name} for good? [y/N]" in err
    assert (await with_letters.stats()).dead == 3
    assert (await cli("dead", "delete", with_letters.name, *choice, stdin="y\n"))[0] == 0
    assert (await with_letters.stats()).dead == 0


async def test_deleting_every_dead_letter_does_not_ask_a_script_that_says_yes(with_letters, cli) -> None:
    status, out, _ = await cli("dead", "delete", with_letters.name, "--all", "--yes", "-o", "json")
    assert (status, json.loads(out)) == (0, {"deleted": 3})


async def test_stats_without_a_name_tell_of_every_queue(nc, make_queue, queue_name: str, cli) -> None:
    queue = await make_queue()
    await queue.enqueue(1)
    await provision(nc, QueueSpec(f"{queue_name}-other"), (GroupSpec(),))
    _, out, _ = await cli("stats", "-o", "json")
    waiting = {each["queue"]: each["waiting"] for each in json.loads(out)}
    assert (waiting[queue.name], waiting[f"{queue.name}-other"]) == (1, 0)


async def test_stats_show_what_is_paused(make_queue, cli) -> None:
    queue = await make_queue(GroupSpec("at-work"), GroupSpec("stopped", paused=True), broadcast=True)
    _, out, _ = await cli("stats", queue.name)
    header, *rows = (line.split() for line in out.splitlines())
    assert header[:3] == ["QUEUE", "GROUP", "STATE"]
    assert [row[:2] for row in rows] == [[queue.name, "Active"], ["at-work", "Active"], ["stopped", "Paused"]]
    _, out, _ = await cli("stats", queue.name, "-o", "json")
    stats = json.loads(out)
    assert (stats["paused"], {name: group["paused"] for name, group in stats["groups"].items()}) == (
        False,
        {"at-work": False, "stopped": True},
    )


async def test_tasks_that_are_not_due_are_shown_with_their_moment(make_queue, cli) -> None:
    queue = await make_queue()
    late, soon = await queue.enqueue(1, delay=7200), await queue.enqueue(2, delay=3600)
    await queue.enqueue(3)
    _, out, _ = await cli("peek", queue.name, "--scheduled", "-o", "json")
    shown = json.loads(out)
    assert [task["id"] for task in shown] == [soon.id, late.id]
    left = [(datetime.fromisoformat(task["due_at"]) - datetime.now(UTC)).total_seconds() for task in shown]
    assert all(limit - 60 < seconds <= limit for seconds, limit in zip(left, (3600, 7200), strict=True))
    _, out, _ = await cli("peek", queue.name, "--scheduled")
    assert [line.split()[0] for line in out.splitlines()] == ["ID", soon.id, late.id]


async def test_why_tells_backlog_workers_and_the_next_step(make_queue, make_worker, start, cli) -> None:
    queue, worker = await make_queue(), make_worker(grace_s=0)

    @worker.handler
    async def wait(payload: int) -> None:
        await asyncio.Event().wait()

    await queue.enqueue_batch([1, 2])
    status, out, _ = await cli("why", queue.name, "--interval", "0.1")
    assert status == 0
    assert "2 waiting" in out
    assert "2 tasks are waiting and no worker of mailers responds" in out
    start(worker)

    async def busy() -> bool:
        return (await queue.stats()).in_flight == 2

    await eventually(busy)
    _, out, _ = await cli("why", queue.name, "--interval", "0.1")
    (row,) = [line.split() for line in out.splitlines() if line.startswith("mailers")]
    assert row[:5] == ["mailers", "0", "2", "1", "2"]
    assert "No problems found." in out


async def test_dead_letters_that_are_tasks_of_another_queue_are_told_of_and_those_from_before_forwarded(
    make_queue, make_worker, start, cli, nc, client, queue_name
) -> None:
    queue, worker = await make_queue(), make_worker()

    @worker.handler
    async def refuse(payload: int) -> None:
        raise Reject("no such user")

    receipt = await queue.enqueue(1)
    start(worker)
    letters = QueueSpec(f"{queue_name}-dlq")
    await provision(nc, letters, [GroupSpec("analysts")])

    async def died() -> bool:
        return (await queue.stats()).dead == 1

    await eventually(died)
    await make_queue(dead_letter_queue=letters.name)
    status, _, err = await cli("dead", "forward", queue.name)
    assert (status, "no dead letters selected" in err) == (1, True)
    _, out, _ = await cli("dead", "forward", queue.name, "--all", "-o", "json")
    assert json.loads(out) == {"forwarded": 1}
    for command in ("list", "summary"):
        _, _, err = await cli("dead", command, queue.name)
        assert f"they are tasks of default/{letters.name}" in " ".join(err.split())
    _, out, _ = await cli("peek", f"default/{letters.name}", "-o", "json")
    (task,) = json.loads(out)
    assert (task["id"], task["dead_letter"]["reason"], task["dead_letter"]["queue"]) == (
        receipt.id, "Rejected", queue.name,
    )  # fmt: skip
    (received,) = await (await client.queue(f"default/{letters.name}")).receive(wait=60)
    await received.reject("cannot be helped")
    _, out, _ = await cli("dead", "show", f"default/{letters.name}", receipt.id)
    assert "cannot be helped" in out
    assert f"Before that it was given up by {queue.name}, group mailers" in out
    assert "no such user" in out


async def test_a_task_is_shown_with_its_timeline_and_the_history_with_what_failed(
    make_queue, make_worker, cli, terminal
) -> None:
    queue = await make_queue(GroupSpec(retry={"max_attempts": 2, "initial_delay": 0.01}), history={"payloads": True})
    worker = make_worker()

    @worker.handler
    async def charge(payload: dict[str, Any]) -> str:
        if payload["card"] == "bad":
            raise ValueError("card\x1b[31m declined")
        return "paid \x1b[2J"

    good, bad = [await queue.enqueue({"card": card}, type="charge") for card in ("good", "bad")]
    later = await queue.enqueue({"card": "good"}, type="charge", delay=600, metadata={"tenant": 7})
    while (await queue.status(bad.id)).state != "Dead":
        await worker.run_once()

    status, out, _ = await cli("task", "show", queue.name, good.id)
    assert status == 0
    shown = {line.partition(":")[0]: line.partition(":")[2].strip() for line in out.splitlines() if ":" in line}
    assert (shown["State"], shown["Attempts"], shown["Type"], shown["Queue"]) == ("Done", "1", "charge", queue.name)
    assert "paid" in shown["Result"]
    assert "\x1b" not in out
    status, out, _ = await cli("task", "show", bad.id)
    assert status == 0, "the id alone is enough"
    assert "State:" in out
    assert "MaxAttempts" in out
    assert "raise ValueError" in out
    assert [line.split()[:2] for line in out.splitlines()[-2:]] == [["1", "Retried"], ["2", "Dead"]]
    assert "\x1b" not in out
    for form in ("json", "yaml"):
        status, out, _ = await cli("task", "show", queue.name, bad.id, "-o", form)
        assert status == 0
        told = json.loads(out) if form == "json" else yaml.safe_load(out)
        assert (told["id"], told["state"], told["attempts"], told["queue"]) == (bad.id, "Dead", 2, queue.name)
        assert [record["outcome"] for record in told["records"]] == ["Retried", "Dead"]

    _, out, _ = await cli("history", queue.name, "--failed", "--type", "charge", "--since", "1h")
    assert [line.split()[3] for line in out.splitlines()[1:]] == ["Dead", "Retried"]
    _, out, _ = await cli("history", queue.name, "-n", "1", "-o", "json")
    (record,) = json.loads(out)
    assert json.loads(record["payload"]["data"]) == {"card": record["payload"]["data"].split('"')[3]}
    for columns in (80, 40):
        lines = await terminal(columns, "history", queue.name)
        assert len(lines) == 4, "each record is one line"
        assert all(len(line) <= columns for line in lines)
        assert any(good.id in line for line in lines)

    status, out, _ = await cli("task", "show", queue.name, later.id, "-o", "json")
    told = json.loads(out)
    assert (told["state"], told["metadata"]) == ("Scheduled", {"tenant": 7})
    assert told["due_at"]
    assert (await cli("task", "run", queue.name, later.id))[0] == 0

    async def waits() -> bool:
        return (await queue.status(later.id)).state == "Waiting"

    await eventually(waits)
    status, out, _ = await cli("task", "cancel", later.id, "-o", "json")
    assert (status, json.loads(out)) == (0, {"queue": queue.name, "id": later.id, "cancelled": True})
    _, out, _ = await cli("task", "show", queue.name, later.id)
    assert "Cancelled" in out


@pytest.mark.parametrize(
    "words", [("-h",), ("dead", "-h"), ("dead", "list", "-h"), ("stats", "-h"), ("task", "-h"), ("history", "-h")]
)
async def test_every_command_explains_itself_with_h(cli, words) -> None:
    status, out, _ = await cli(*words)
    assert status == 0
    assert "Usage" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("stats", "default/nowhere"), "kubectl wait"),
        (("stats", "nowhere"), "<namespace>/<name>"),
        (("enqueue", "QUEUE", "{not json"), "--raw"),
        (("enqueue", "QUEUE", "1", "-p", "99"), "error: priority must be 1 (lowest) to 10 (highest), not 99"),
        (("worker", "nowhere"), "package.module:worker"),
        (("worker", "nowhere:worker"), "module nowhere not found"),
        (("worker", "json:worker"), "has no worker"),
        (("worker", "json:dumps"), "not a protoqueue.Worker"),
        (("enqueue", "QUEUE", "1", "--file", "tasks.jsonl"), "--file requires '-' as the PAYLOAD"),
        (("enqueue", "QUEUE", "1", "--delay", "soon"), "--delay: 'soon' is not a valid duration: write 500ms"),
        (("enqueue", "QUEUE", "1", "--delay", "-5"), "must not be negative"),
        (("enqueue", "QUEUE", "1", "--delay", "5", "--at", "2030-01-01T00:00Z"), "delay and at are mutually exclusive"),
        (("enqueue", "QUEUE", "1", "--at", "tomorrow"), "--at: 'tomorrow' is not a valid time: write 20"),
        (("enqueue", "QUEUE", "1", "--at", "2030-01-01T00:00"), "has no time zone: add Z"),
        (("enqueue", "QUEUE", "1", "--expires", "soon"), "--expires: 'soon' is not a valid time: write 1m30s or 20"),
        (("enqueue", "QUEUE", "1", "--expires", "2020-01-01T00:00Z"), "expire before it is due"),
        (("enqueue", "QUEUE", "1", "--metadata", "tenant"), "--metadata: 'tenant' is not of the form key=value"),
        (("enqueue", "QUEUE", "1", "--metadata", "a=1", "--metadata", "a=2"), "--metadata: 'a' is given twice"),
        (("dead", "show", "QUEUE", "x"), "dead letter x not found"),
        (("task", "show", "QUEUE", "x"), "task x is not found in default/"),
        (("task", "run", "QUEUE", "x"), "task x is not found in default/"),
        (("task", "show", "QUEUE", "x", "y"), "the id of one task"),
        (("history", "QUEUE"), "set spec.history of the Queue"),
        (("history", "QUEUE", "--since", "soon"), "--since: 'soon' is not a valid time: write 1m30s or 20"),
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
    assert "dead letters not found: mistyped" in err


async def test_without_nats_commands_end_with_a_sentence(cli) -> None:
    status, _, err = await cli("stats", "default/email", url="nats://127.0.0.1:1")
    assert status == 1
    (said,) = err.splitlines()
    assert "no NATS server responded at nats://127.0.0.1:1" in said


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
    lines = [json.loads(await asyncio.wait_for(process.stdout.readline(), 60)) for _ in range(2)]
    await queue.enqueue(1)
    while lines[-1]["waiting"] != 1:
        lines.append(json.loads(await asyncio.wait_for(process.stdout.readline(), 60)))
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 60) == 130


async def test_empty_lists_say_so_on_stderr_and_are_empty_lists_in_json(make_queue, cli) -> None:
    queue = await make_queue()
    for words, said in (
        (("peek", queue.name), f"no tasks waiting or in flight in {queue.name}"),
        (("dead", "list", queue.name), f"no dead letters in {queue.name}"),
        (("dead", "list", queue.name, "--type", "mail"), f"no matching dead letters in {queue.name}"),
        (("enqueue", queue.name, "-"), "the input has no lines: nothing was enqueued"),
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

    from ports import free_port

    port = free_port()
    monkeypatch.setenv("PROTOQUEUE_METRICS_PORT", str(port))
    queue = await make_queue(GroupSpec())
    worker = processes("@worker.handler('mail')\nasync def work(payload: int) -> None:\n    tell(payload)\n")
    await queue.enqueue(1, type="mail")
    await eventually(lambda: worker.told == ["1"])

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
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

    await eventually(lambda: any("failed for good" in line["message"] for line in lines()))
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
    assert (status, "kubectl not found on PATH" in err) == (1, True)


async def test_resume_ends_what_a_handler_has_throttled_and_says_where_it_could_not_look(
    cli, make_queue, make_worker, start, tmp_path: Path, monkeypatch
) -> None:
    queue, worker, seen = await make_queue(), make_worker(), list[int]()

    @worker.handler
    async def work(payload: int) -> None:
        seen.append(payload)
        if payload == 1:
            raise Throttle(600)

    kubectl = tmp_path / "kubectl"
    kubectl.write_text("#!/bin/sh\n")
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    start(worker)
    await queue.enqueue(1)

    async def is_throttled() -> bool:
        return (await queue.stats()).groups["mailers"].throttled_until is not None

    await eventually(is_throttled)
    assert await cli("resume", queue.name) == (0, "", "Throttle of mailers ended\n")
    await queue.enqueue(2)
    await eventually(lambda: seen == [1, 2])
    assert await cli("resume", queue.name, "--group", "mailers") == (0, "", "")
    status, _, err = await cli("resume", queue.name, "--nats", f"nats://127.0.0.1:{free_port()}")
    assert (status, "Throttle that a handler has raised goes on, if there is one" in err) == (0, True), err
