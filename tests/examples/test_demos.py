"""Each example runs from start to end on a cluster of its own, and finds what it promises."""

import re
import subprocess
import sys

import pytest

from examples.loading import EXAMPLES, NAMES


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "codeindex"])  # which is `make demo`
def test_an_example_finds_what_it_promises(name: str) -> None:
    command = [sys.executable, str(EXAMPLES / "run.py"), name]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=170)
    assert done.returncode == 0, done.stdout
    assert "✓" in done.stdout
    if name == "webhooks":  # the table that is printed last says what the line below it says
        assert dead_in_the_table(done.stdout) == "1"


def dead_in_the_table(output: str) -> str:
    """The number of dead letters in the last table that kubectl printed of Queues."""
    lines = [re.split(r"  +", line.strip()) for line in output.splitlines()]
    number, header = next((n, words) for n, words in reversed(list(enumerate(lines))) if "DEAD" in words)
    return lines[number + 1][header.index("DEAD")]


def test_an_example_that_does_not_exist_is_told() -> None:
    command = [sys.executable, str(EXAMPLES / "run.py"), "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "webhooks" in done.stdout
