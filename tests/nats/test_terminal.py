"""How the command line looks and behaves in a terminal: 80 and 40 columns, piped, without colour, interrupted."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from nats_server import NatsServer
from protoqueue import Client, Queue, Reject
from provisioning import GroupSpec, QueueSpec, provision
from terminal import PROTOQUEUE, Terminal, environment
from waiting import eventually

WIDTHS = (80, 40)
Open = Callable[..., Terminal]


@pytest_asyncio.fixture
async def terminal() -> AsyncIterator[Open]:
    opened: list[Terminal] = []

    def make(columns: int = 80, lines: int = 24) -> Terminal:
        opened.append(Terminal(columns, lines))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest_asyncio.fixture
async def queue(make_queue, make_worker) -> Queue:
    """With tasks that wait, and dead letters with long errors."""
    queue, worker = await make_queue(), make_worker()

    @worker.handler
    async def fail(payload: int) -> None:
        raise Reject("the customer's address could not be found in any of the registers that were asked " * 3)

    await queue.enqueue_batch([1, 2, 3])
    serving = asyncio.create_task(worker.serve())

    async def dead() -> bool:
        return (await queue.stats()).dead == 3

    await eventually(dead)
    worker.stop()
    await serving
    await queue.enqueue_batch(list(range(12)))
    return queue


def env(server: NatsServer, **more: str) -> dict[str, str]:
    return environment(PROTOQUEUE_NATS_URL=server.url, **more)


async def run(server: NatsServer, *words: str, **variables: str) -> tuple[int, str]:
    """In a pipe."""
    process = await asyncio.create_subprocess_exec(
        PROTOQUEUE, *words, stdout=asyncio.subprocess.PIPE, env=env(server, **variables)
    )
    out, _ = await asyncio.wait_for(process.communicate(), 100)
    return process.returncode or 0, out.decode()


COMMANDS = (
    ("stats",),
    ("dead", "list", "QUEUE"),
    ("dead", "summary", "QUEUE"),
    ("peek", "QUEUE"),
)


@pytest.mark.parametrize("words", COMMANDS)
async def test_no_line_is_wider_than_the_terminal_unless_it_is_to_be_copied(
    queue: Queue, server: NatsServer, terminal: Open, words: tuple[str, ...]
) -> None:
    words = tuple(queue.name if word == "QUEUE" else word for word in words)
    for columns in WIDTHS:
        screen = await terminal(columns).run(PROTOQUEUE, *words, env=env(server))
        wide = [line for line in screen.lines if len(line) > columns]
        assert all("protoqueue " in line or "kubectl " in line for line in wide), "a command is never cut"
        assert any(queue.name in line or "Reject" in line or "ID" in line for line in screen.lines)


async def test_help_fits_the_terminal(server: NatsServer, terminal: Open) -> None:
    for columns in WIDTHS:
        screen = await terminal(columns).run(PROTOQUEUE, "enqueue", "-h", env=env(server))
        assert "Usage: protoqueue enqueue" in screen.text
        assert screen.widest <= columns


@pytest.mark.parametrize("words", [*COMMANDS, ("top", "--interval", "0.1")])
async def test_a_pipe_gets_whole_cells_and_no_colour(queue: Queue, server: NatsServer, words: tuple[str, ...]) -> None:
    status, out = await run(server, *(queue.name if word == "QUEUE" else word for word in words))
    assert status == 0
    assert "\x1b" not in out
    assert "…" not in out or "…" in queue.name or words[0] in ("peek", "dead", "why")
    assert not [line for line in out.splitlines() if line != line.rstrip()], "nothing is padded"


async def test_no_color_is_heeded_and_errors_are_red_without_it(server: NatsServer, terminal: Open) -> None:
    words = ("stats", "default/nowhere")
    coloured = await terminal().run(PROTOQUEUE, *words, env=env(server))
    plain = await terminal().run(PROTOQUEUE, *words, env=env(server, NO_COLOR="1"))
    dumb = await terminal().run(PROTOQUEUE, *words, env=env(server, TERM="dumb"))
    assert coloured.is_coloured
    assert not plain.is_coloured
    assert "\x1b" not in dumb.raw
    assert coloured.text == plain.text == dumb.text
    assert "error: queue default/nowhere does not exist" in plain.text.replace("\n", " ")


async def test_top_shows_the_busiest_queue_first_and_goes_on_until_ctrl_c(
    nc, client: Client, queue_name: str, server: NatsServer, terminal: Open
) -> None:
    """In a namespace of its own: other tests have left queues on this server, more than a screen shows."""
    for name in ("busy", "idle"):
        await provision(nc, QueueSpec(name, namespace=queue_name), (GroupSpec(),))
    busy, idle = f"{queue_name}/busy", f"{queue_name}/idle"
    queue = await client.queue(busy)
    await queue.enqueue_batch(list(range(12)))
    screen = terminal(80, 60)
    await screen.start(PROTOQUEUE, "top", "--interval", "0.2", "-n", queue_name, env=env(server))

    def row(name: str) -> list[str]:
        return next((line.split() for line in reversed(screen.lines) if line.startswith(f"{name} ")), [])

    await eventually(lambda: row(busy)[1:3] == ["12", "0"])
    await queue.enqueue_batch(list(range(100)))
    await eventually(lambda: row(busy)[1:2] == ["112"])
    await eventually(lambda: any(re.search(rf"{busy} .* [1-9][0-9.]* ", line) for line in screen.lines))

    def is_first() -> bool:
        whole = screen.text.split("queues:")[-2]  # what comes last may be half a screen
        return 0 <= whole.find(busy) < whole.find(idle)

    await eventually(is_first)
    screen.type("\x03")
    assert await screen.ended() == 130
    assert "Traceback" not in screen.text
    assert screen.raw.endswith(("\x1b[?1049l\x1b[?25h", "\x1b[?25h\x1b[?1049l", "\x1b[?25h")), "as it was found"
    assert "\x1b[?1049l" in screen.raw


async def test_top_fits_any_terminal(nc, queue: Queue, queue_name: str, server: NatsServer, terminal: Open) -> None:
    for number in range(12):
        await provision(nc, QueueSpec(f"{queue_name}-{number}"), ())
    for columns in WIDTHS:
        screen = terminal(columns, 10)
        await screen.start(PROTOQUEUE, "top", "--interval", "0.2", env=env(server))
        await eventually(lambda screen=screen: "more queues" in screen.text)
        screen.type("\x03")
        assert await screen.ended() == 130
        assert screen.widest <= columns


@pytest.mark.parametrize("words", [("stats", "QUEUE", "--watch"), ("why", "QUEUE", "--interval", "60")])
async def test_ctrl_c_ends_what_waits_at_once_and_without_a_traceback(
    queue: Queue, server: NatsServer, terminal: Open, words: tuple[str, ...]
) -> None:
    screen = terminal()
    await screen.start(PROTOQUEUE, *(queue.name if word == "QUEUE" else word for word in words), env=env(server))
    await eventually(lambda: queue.name in screen.text or "measuring" in screen.text)
    screen.type("\x03")
    assert await screen.ended() == 130
    assert "Traceback" not in screen.text


async def test_what_takes_long_says_what_it_does(queue: Queue, server: NatsServer, terminal: Open) -> None:
    screen = await terminal().run(PROTOQUEUE, "why", queue.name, "--interval", "2", env=env(server))
    assert "measuring…" in screen.text
    _, out = await run(server, "why", queue.name, "--interval", "2")
    assert "measuring" not in out


async def test_a_reader_that_has_seen_enough_ends_the_command_quietly(queue: Queue, server: NatsServer) -> None:
    await queue.enqueue_batch([{"text": "x" * 1000}] * 500)
    command = f"{PROTOQUEUE} peek {queue.name} -n 500 -o json | head -1"
    process = await asyncio.create_subprocess_shell(
        command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=env(server)
    )
    out, err = await asyncio.wait_for(process.communicate(), 100)
    assert out == b"[\n"
    assert b"Traceback" not in err
    assert b"Errno" not in err


async def test_kubectl_finds_the_command_line_as_a_plugin(queue: Queue, server: NatsServer) -> None:
    status, out = await run_plugin(server, "stats", queue.name, "-o", "yaml")
    assert (status, out.splitlines()[:2]) == (0, [f"queue: {queue.name}", "waiting: 12"])
    _, out = await run_plugin(server, "dead", "-h")
    assert "Usage: kubectl protoqueue dead" in out


async def run_plugin(server: NatsServer, *words: str) -> tuple[int, str]:
    variables = env(server)
    folder = PROTOQUEUE.rpartition("/")[0]
    variables["PATH"] = f"{folder}:{variables['PATH']}"
    process = await asyncio.create_subprocess_exec(
        f"{folder}/kubectl", "protoqueue", *words, stdout=asyncio.subprocess.PIPE, env=variables
    )
    out, _ = await asyncio.wait_for(process.communicate(), 100)
    return process.returncode or 0, out.decode()
