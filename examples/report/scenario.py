"""Nobody waits for the night here: the schedule is edited to fire every three seconds, and edited back."""

import csv
import json
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

from run import Check, Stage

import protoqueue

PRODUCTS = ("anvil", "rocket", "spring")
NIGHTLY = {"name": "nightly", "cron": "0 0 3 * * *", "timeZone": "Europe/Berlin"}
WANTED = 3


async def play(client: protoqueue.Client, stage: Stage) -> list[Check]:
    takings = sell(stage.directory / "orders.sqlite")
    queue = await client.queue("default/reports")
    reschedule(stage, cron="*/3 * * * * *")

    async def enough() -> bool:
        return len(reports(stage.directory)) >= WANTED

    await stage.until(enough, f"there are {WANTED} reports")
    reschedule(stage)
    await stage.drained(queue)

    written = reports(stage.directory)
    names = ", ".join(path.stem for path in written)
    stats = await queue.stats()
    return [
        Check(f"{len(written)} reports were written: {names}", len(written) >= WANTED),
        Check(f"each shows the takings, {takings} EUR", {total(path) for path in written} == {takings}),
        Check("no report failed", stats.dead == 0),
    ]


def sell(database: Path) -> Decimal:
    """Ninety orders; returns what was taken in."""
    orders = [(PRODUCTS[number % 3], "EUR", 1000 + number) for number in range(90)]
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE orders (product TEXT, currency TEXT, cents INTEGER)")
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?)", orders)
    return Decimal(sum(cents for _, _, cents in orders)) / 100


def total(report: Path) -> Decimal:
    with report.open(newline="") as file:
        return sum((Decimal(row["EUR"]) for row in csv.DictReader(file)), Decimal())


def reschedule(stage: Stage, **changes: str) -> None:
    schedule = {**NIGHTLY, "type": "sales", "payload": json.dumps({"currency": "EUR"}), **changes}
    patch = {"spec": {"schedules": [schedule]}}
    stage.kubectl("patch", "queue", "reports", "--type=merge", "-p", json.dumps(patch))


def reports(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.csv"))
