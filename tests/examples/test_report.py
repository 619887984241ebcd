"""The report example in memory."""

import csv
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

from examples.loading import example_module
from protoqueue.testing import in_memory


@pytest.fixture
def workers() -> Iterator[ModuleType]:
    with example_module("report", "workers") as module:
        yield module


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with closing(sqlite3.connect(tmp_path / "orders.sqlite")) as connection, connection:
        connection.execute("CREATE TABLE orders (product TEXT, currency TEXT, cents INTEGER)")
        orders = [("anvil", "EUR", 1050), ("anvil", "EUR", 950), ("rocket", "EUR", 1), ("rocket", "USD", 7000)]
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?)", orders)
    monkeypatch.setenv("REPORT_DIRECTORY", str(tmp_path))
    return tmp_path


def report(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


async def test_a_report_sums_the_orders_of_one_currency_by_product(workers: ModuleType, directory: Path) -> None:
    async with in_memory("default/reports", group="reporters") as memory:
        queue = await memory.client.queue("default/reports")
        receipt = await queue.enqueue(workers.Sales(currency="EUR"), type="sales")
        assert await workers.worker.run_once() == 1
    with (directory / f"{receipt.id}.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["product", "orders", "EUR"],
            ["anvil", "2", "20.00"],
            ["rocket", "1", "0.01"],
        ]


async def test_a_task_that_comes_twice_writes_one_report(workers: ModuleType, directory: Path) -> None:
    async with in_memory("default/reports", group="reporters") as memory:
        queue = await memory.client.queue("default/reports")
        await queue.enqueue(workers.Sales(currency="EUR"), type="sales")
        (task,) = await queue.receive(group="reporters")
        for _ in range(2):
            workers.report_sales(task.payload(workers.Sales), task)
        await task.ack()
    assert [name for name in os.listdir(directory) if name != "orders.sqlite"] == [f"{task.id}.csv"]


async def test_a_payload_that_is_no_order_for_a_report_waits_for_a_newer_worker(
    workers: ModuleType, directory: Path
) -> None:
    async with in_memory("default/reports", group="reporters") as memory:
        queue = await memory.client.queue("default/reports")
        await queue.enqueue({"curency": "EUR"}, type="sales")
        await workers.worker.run_once()
        stats = await queue.stats()
        assert (stats.scheduled, stats.dead) == (1, 0)
        assert os.listdir(directory) == ["orders.sqlite"]
