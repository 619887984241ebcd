"""Every file of the standard library, parsed by workers that come and go, and tallied: nothing may be missing."""

import asyncio
import json
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from library import priority_of, standard_library
from rich.table import Table
from run import LOOK_AGAIN_S, Check, Stage, console

import protoqueue

HERE = Path(__file__).parent
ANOTHER = "scenario.py"
"""The module that is enqueued with curl: it is not in the library."""


async def play(client: protoqueue.Client, stage: Stage) -> list[Check]:
    tasks = [
        protoqueue.NewTask({"path": str(path), "name": name}, priority=priority_of(name))
        for name, path in standard_library()
    ]
    modules, findings = await client.queue("default/modules"), await client.queue("default/findings")
    started = time.monotonic()
    await modules.enqueue_batch(tasks)
    console.print(f"\n[bold]{len(tasks)} modules enqueued in {time.monotonic() - started:.2f} s[/]\n")

    sizes = await watch(stage, modules, findings)
    letters = [letter async for letter in modules.dead_letters()]
    stage.kubectl("events", "--for", "consumergroup/parsers")
    tallied = report(stage.directory / "codeindex.sqlite")
    show(letters)
    return [
        Check(f"parsers: {' → '.join(map(str, sizes))}", sizes[:1] == [0] and max(sizes) > 1 and sizes[-1:] == [0]),
        Check(f"{len(tasks)} enqueued = {tallied} tallied + {len(letters)} dead", len(tasks) == tallied + len(letters)),
        Check("what is dead did not parse", {letter.error_type for letter in letters} <= {"SyntaxError"}),
        *([await through_the_gateway(stage, findings)] if shutil.which("curl") else []),
    ]


async def watch(stage: Stage, modules: protoqueue.Queue, findings: protoqueue.Queue) -> list[int]:
    """Print a line whenever a number changes, until all work is done and the parsers are gone; the sizes seen."""
    row = "{:>6}  {:>8} {:>8} {:>10} {:>6}  {:>9}  {:>8}"
    console.print(row.format("time", "waiting", "inflight", "scheduled", "dead", "to tally", "parsers"), style="bold")
    started, sizes, shown = time.monotonic(), [0], None
    while True:
        parse, tally, parsers = await asyncio.gather(modules.stats(), findings.stats(), stage.workers("parsers"))
        sizes += [parsers] if sizes[-1] != parsers else []
        now = (parse.waiting, parse.in_flight, parse.scheduled, parse.dead, tally.waiting + tally.in_flight, parsers)
        if now != shown:
            console.print(row.format(f"{time.monotonic() - started:.1f} s", *now))
            shown = now
        if not any((*now[:3], *now[4:])):
            return sizes
        await asyncio.sleep(2 * LOOK_AGAIN_S)


async def through_the_gateway(stage: Stage, findings: protoqueue.Queue) -> Check:
    state = await enqueue_with_curl(stage)
    await stage.drained(findings)
    is_tallied = ANOTHER in modules_of(stage.directory / "codeindex.sqlite")
    return Check(f"the task enqueued with curl is {state}, and tallied", state == "Done" and is_tallied)


async def enqueue_with_curl(stage: Stage) -> str:
    """Enqueue one more module over HTTP, and ask for its state until it has ended; returns that."""
    console.print("\n[bold]One more module, enqueued with curl[/]")
    task = json.dumps({"payload": {"path": str(HERE / ANOTHER), "name": ANOTHER}, "priority": 9})
    receipt = stage.curl("/v1/queues/modules/messages", "--json", task)
    shown, state, question = "", "", f"/v1/queues/modules/tasks/{receipt['id']}"
    while state not in {"Done", "Dead"}:
        status = stage.curl(question, quietly=bool(shown))
        state = status["state"]
        line = f"  {state:<9} " + " ".join(f"{name}={status[name]}" for name in ("attempts", "worker") if status[name])
        if line != shown:
            console.print(line.rstrip(), soft_wrap=True, markup=False)
            shown = line
        await asyncio.sleep(LOOK_AGAIN_S)
    return state


def modules_of(database: Path) -> set[str]:
    with closing(sqlite3.connect(database)) as connection:
        return {name for (name,) in connection.execute("SELECT module FROM findings")}


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
    return int(tallied)


def show(letters: list[protoqueue.DeadLetter]) -> None:
    console.print("[bold]What did not parse[/]")
    for letter in letters:
        name = json.loads(letter.task.data)["name"]
        error = f"{letter.error_type}: {letter.error}"
        console.print(f"  {name:<42} {letter.attempts} attempts  {error[:60]}", soft_wrap=True, markup=False)
