"""Index Python source: `parser` reads modules and counts what is in them, `tally` adds the counts up.

protoqueue worker workers:parser
protoqueue worker workers:tally
"""

import ast
import os
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path

from pydantic import BaseModel

import protoqueue

warnings.simplefilter("ignore", SyntaxWarning)  # of the modules that are parsed


class Module(BaseModel):
    """A file to parse."""

    path: Path
    name: str


class Finding(BaseModel):
    """What one module holds."""

    module: str
    functions: int
    classes: int
    imports: int
    lines: int


parser = protoqueue.Worker("default/modules", group="parsers")


@parser.handler
async def parse(module: Module, task: protoqueue.Task) -> None:
    """Parse one module and hand on what it holds. Source that does not parse raises, is retried and ends up dead."""
    finding = count(module.name, module.path.read_bytes())
    findings = await parser.client.queue("default/findings")
    await findings.enqueue(finding, dedup_id=task.id)  # a redelivered task is counted once all the same


def count(name: str, source: bytes) -> Finding:
    nodes = list(ast.walk(ast.parse(source, filename=name)))
    return Finding(
        module=name,
        functions=sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes),
        classes=sum(isinstance(node, ast.ClassDef) for node in nodes),
        imports=sum(isinstance(node, ast.Import | ast.ImportFrom) for node in nodes),
        lines=source.count(b"\n"),
    )


tally = protoqueue.Worker("default/findings", group="tally")


@tally.handler
def add(finding: Finding) -> None:
    """Keep one row per module: adding it twice changes nothing."""
    database = Path(os.environ["CODEINDEX_DIRECTORY"]) / "codeindex.sqlite"
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS findings"
            " (module TEXT PRIMARY KEY, functions INT, classes INT, imports INT, lines INT)"
        )
        connection.execute(
            "INSERT OR IGNORE INTO findings VALUES (:module, :functions, :classes, :imports, :lines)",
            finding.model_dump(),
        )
