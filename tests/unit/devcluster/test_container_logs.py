import asyncio
import os
from datetime import datetime
from pathlib import Path

import pytest

from protoqueue_devcluster.node.kubelet import parse_query
from protoqueue_devcluster.node.logs import LONGEST_LINE, LogQuery, read_log, record_output, render
from unit.devcluster.cluster_in_memory import START

ENTRIES = [
    b"2030-01-01T00:00:01.000000Z stdout F one",
    b"2030-01-01T00:00:02.000000Z stdout P two-",
    b"2030-01-01T00:00:02.000001Z stdout F two",
    b"2030-01-01T00:00:03.000000Z stdout F ",
    b"2030-01-01T00:00:04.000000Z stdout F four words in it",
]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        (LogQuery(), "one\ntwo-two\n\nfour words in it\n"),
        (LogQuery(tail_lines=3), "two-two\n\nfour words in it\n"),
        (LogQuery(tail_lines=2), "\nfour words in it\n"),
        (LogQuery(tail_lines=0), ""),
        (LogQuery(tail_lines=99), "one\ntwo-two\n\nfour words in it\n"),
        (LogQuery(since=datetime.fromisoformat("2030-01-01T00:00:03Z")), "\nfour words in it\n"),
        (LogQuery(timestamps=True, tail_lines=1), "2030-01-01T00:00:04.000000Z four words in it\n"),
    ],
)
def test_a_log_is_shown_as_asked(query: LogQuery, text: str) -> None:
    assert render(ENTRIES, query).decode() == text


async def recorded(path: Path, *writes: bytes) -> None:
    read_end, write_end = os.pipe()
    recording = asyncio.create_task(record_output(read_end, path))
    for data in writes:
        await asyncio.to_thread(os.write, write_end, data)
    os.close(write_end)
    await recording


@pytest.mark.parametrize(
    "output",
    [
        b"a\nb\n",
        b"no newline at the end",
        b"progress 1%\rprogress 2%\r\n",
        b"x" * (3 * LONGEST_LINE + 7) + b"\n",
        b"\xff\x00\n",
    ],
    ids=["lines", "unfinished", "carriage returns", "very long", "not text"],
)
async def test_what_a_process_prints_comes_back_unchanged(tmp_path: Path, output: bytes) -> None:
    log = tmp_path / "0.log"
    await recorded(log, output)
    shown = b"".join([chunk async for chunk in read_log(log, LogQuery(), lambda: False)])
    assert shown == output if output.endswith(b"\n") else shown == output + b"\n"


async def test_following_gives_out_later_lines_and_ends_with_the_container(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    await recorded(log, b"early\n")
    seen: list[bytes] = []
    async for chunk in read_log(log, LogQuery(follow=True, tail_lines=1), lambda: not seen):
        seen.append(chunk)
        if len(seen) == 1:
            await recorded(log, b"late\n")
    assert seen == [b"early\n", b"late\n"]


async def test_no_more_bytes_than_asked_for(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    await recorded(log, b"0123456789\n")
    query = LogQuery(limit_bytes=4, follow=True)
    assert [chunk async for chunk in read_log(log, query, lambda: True)] == [b"0123"]


def test_log_options_are_read_as_the_api_server_passes_them_on() -> None:
    query = {"follow": "true", "tailLines": "3", "limitBytes": "9", "sinceSeconds": "60", "timestamps": "true"}
    parsed = parse_query(query, START)
    assert parsed == LogQuery(True, True, 3, 9, datetime.fromisoformat("2029-12-31T23:59:00Z"))
    with pytest.raises(ValueError, match="many"):
        parse_query({"tailLines": "many"}, START)
