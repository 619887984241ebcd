"""What a type checker finds in uses of the public names."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SAMPLE = Path(__file__).with_name("typing_sample.py")


@pytest.mark.timeout(600)
def test_mypy_finds_every_wrong_use_in_the_sample_and_nothing_else() -> None:
    wanted = {
        (number, code)
        for number, line in enumerate(SAMPLE.read_text().splitlines(), 1)
        if (match := re.search(r"# error: ([a-z, -]+)$", line))
        for code in match[1].split(", ")
    }
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", str(SAMPLE)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=590)
    errors = re.finditer(r"sample\.py:(\d+): error: .*\[([a-z-]+)\]", done.stdout)
    found = {(int(match[1]), match[2]) for match in errors}
    assert found == wanted, done.stdout + done.stderr
    assert len(wanted) > 5
