"""Index the running Python's standard library on a cluster that this script starts, watches and stops.

It does what a user would do by hand, and shows each command: `protoqueue up`, `kubectl apply`, enqueue, watch, report.
Exits with 1 when the account does not match: every module enqueued is either tallied or a dead letter.
"""

import asyncio
import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import tempfile
import time
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.table import Table

import protoqueue

HERE = Path(__file__).parent
ENOUGH_S = 110
console = Console(highlight=False)


def main() -> int:
    state = Path(tempfile.mkdtemp(prefix="protoqueue-demo-"))
    try:
        run("protoqueue", "up", "--detach", "--dir", state, "--workdir", HERE)
        os.environ |= environment_of(state)
        return asyncio.run(index(state / "codeindex.sqlite"))
    finally:
        run("protoqueue", "down", "--dir", state, "--purge")
        shutil.rmtree(state, ignore_errors=True)


async def index(database: Path) -> int:
    run("kubectl", "create", "configmap", "codeindex", f"--from-literal=database={database}")
    run("kubectl", "apply", "-f", HERE / "manifests.yaml")
    run("kubectl", "wait", "--for=condition=Ready", "queue,consumergroup", "--all", "--timeout=60s")

    tasks = [
        protoqueue.Outgoing({"path": str(path), "name": name}, priority=priority_of(name))
        for name, path in standard_library()
    ]
    async with await protoqueue.connect() as client:
        modules, findings = await client.queue("default/modules"), await client.queue("default/findings")
        started = time.monotonic()
        await modules.enqueue_batch(tasks)
        console.print(f"\n[bold]{len(tasks)} modules enqueued in {time.monotonic() - started:.2f} s[/]\n")
        sizes = await watch(modules, findings)
        letters = [letter async for letter in modules.dead_letters()]

    run("kubectl", "get", "queues,consumergroups")
    run("kubectl", "describe", "consumergroup", "parsers", only="Scaled")
    tallied = report(database)
    show_dead_letters(letters)
    return account(enqueued=len(tasks), tallied=tallied, dead=len(letters), sizes=sizes)


def standard_library() -> list[tuple[str, Path]]:
    """Every module file of the running Python, as (path within the library, absolute path)."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = (path for path in sorted(root.rglob("*.py")) if not {"site-packages", "dist-packages"} & set(path.parts))
    return [(path.relative_to(root).as_posix(), path) for path in files]


def priority_of(name: str) -> int:
    """Top-level modules first, packages next, tests last."""
    directories = name.split("/")[:-1]
    if not directories:
        return 9
    return 1 if {"test", "tests", "idle_test"} & set(directories) else 5


async def watch(modules: protoqueue.Queue, findings: protoqueue.Queue) -> list[int]:
    """Print a line whenever a number changes, until all work is done and the parsers are gone; the sizes seen."""
    row = "{:>6}  {:>8} {:>8} {:>10} {:>6}  {:>9}  {:>8}"
    console.print(row.format("time", "waiting", "inflight", "scheduled", "dead", "to tally", "parsers"), style="bold")
    started, sizes, shown = time.monotonic(), [], None
    while (elapsed := time.monotonic() - started) < ENOUGH_S:
        parse, tally, parsers = await asyncio.gather(modules.stats(), findings.stats(), replicas("parsers"))
        sizes += [parsers] if sizes[-1:] != [parsers] else []
        now = (parse.ready, parse.in_flight, parse.scheduled, parse.dead, tally.ready + tally.in_flight, parsers)
        if now != shown:
            console.print(row.format(f"{elapsed:.1f} s", *now))
            shown = now
        if not any((*now[:3], *now[4:])):
            break
        await asyncio.sleep(0.5)
    return sizes


async def replicas(group: str) -> int:
    command = ("kubectl", "get", "consumergroup", group, "-o", "jsonpath={.status.replicas}")
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    return int((await process.communicate())[0] or 0)


def report(database: Path) -> int:
    """Print what was found per top-level package; how many modules were tallied."""
    if not database.exists():
        return 0
    with closing(sqlite3.connect(database)) as connection:
        (tallied,) = connection.execute("SELECT count(*) FROM findings").fetchone()
        rows = connection.execute(
            """
            SELECT iif(module LIKE '%/%', substr(module, 1, instr(module, '/') - 1), '(top level)') AS package,
                   count(*), sum(lines), sum(functions), sum(classes), sum(imports)
            FROM findings GROUP BY package ORDER BY sum(lines) DESC LIMIT 12
            """
        ).fetchall()
    table = Table("package", "modules", "lines", "functions", "classes", "imports", title="The largest packages")
    for column in table.columns[1:]:
        column.justify = "right"
    for package, *numbers in rows:
        table.add_row(package, *(f"{number:,}" for number in numbers))
    console.print(table)
    return tallied


def show_dead_letters(letters: list[protoqueue.DeadLetter]) -> None:
    console.print("[bold]What did not parse[/]")
    for letter in letters:
        name = json.loads(letter.task.data)["name"]
        error = f"{letter.error_type}: {letter.error}"
        console.print(f"  {name:<42} {letter.attempts} attempts  {error[:60]}", soft_wrap=True, markup=False)


def account(*, enqueued: int, tallied: int, dead: int, sizes: list[int]) -> int:
    path = " → ".join(map(str, sizes))
    scaled = sizes[:1] == [0] and max(sizes) > 1 and sizes[-1:] == [0]
    matches = enqueued == tallied + dead
    console.print(f"\nparsers: {path}", style="bold" if scaled else "bold red")
    console.print(
        f"{enqueued} enqueued {'=' if matches else '≠'} {tallied} tallied + {dead} dead",
        style="bold green" if matches else "bold red",
    )
    return 0 if matches and scaled else 1


def run(*command: str | Path, only: str = "") -> None:
    """Show a command and run it; with `only`, print just the lines that hold that text. Raises when it fails."""
    words = [str(word) for word in command]
    console.print(f"[bold cyan]$ {shlex.join(words)}[/]" + (f" [dim]| grep {only}[/]" if only else ""), soft_wrap=True)
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE if only else None, text=True)
    for line in (done.stdout or "").splitlines():
        if only in line:
            console.print(line, soft_wrap=True)


def environment_of(state: Path) -> dict[str, str]:
    """The variables of the file `env` that `protoqueue up` leaves for shells to source."""
    lines = (line.removeprefix("export ") for line in (state / "env").read_text().splitlines())
    return dict(shlex.split(line)[0].split("=", 1) for line in lines if "=" in line)


if __name__ == "__main__":
    sys.exit(main())
