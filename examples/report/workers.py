"""Write sales reports: `protoqueue worker workers:worker`. REPORT_DIRECTORY holds `orders.sqlite`."""

import csv
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from pydantic import BaseModel

import protoqueue

QUERY = "SELECT product, count(*), sum(cents) FROM orders WHERE currency = ? GROUP BY product ORDER BY product"


class Sales(BaseModel):
    """What is to be reported: the payload of the schedule."""

    currency: str


worker = protoqueue.Worker("default/reports", group="reporters", concurrency=1)


@worker.handler("sales")
def report_sales(sales: Sales, task: protoqueue.Task) -> None:
    """Write one report. Its name is the task's id, which each firing has its own: a repetition writes the same file."""
    directory = Path(os.environ["REPORT_DIRECTORY"])
    with closing(sqlite3.connect(directory / "orders.sqlite")) as connection:
        rows = connection.execute(QUERY, [sales.currency]).fetchall()
    unfinished = directory / f"{task.id}.unfinished"
    with unfinished.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["product", "orders", sales.currency])
        writer.writerows((product, orders, f"{cents / 100:.2f}") for product, orders, cents in rows)
    unfinished.rename(directory / f"{task.id}.csv")
