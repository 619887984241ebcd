"""The Go client is in order, and passes the common cases."""

import re
import sys
import sysconfig
from pathlib import Path

import pytest

from clients.toolchains import GO, run

pytestmark = pytest.mark.timeout(1000)  # the first time, all of Go's own packages are compiled

GOFMT = Path(sysconfig.get_path("purelib")) / "go" / "bin" / "gofmt"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the wheel's gofmt lies elsewhere")
def test_the_go_client_is_formatted() -> None:
    assert run(str(GOFMT), "-l", ".", folder=GO) == ""


def test_the_go_client_is_vetted_and_passes_every_case() -> None:
    run("go", "vet", "./...", folder=GO)
    output = run("go", "test", "-count=1", "-v", "./...", folder=GO)
    assert len(re.findall(r"^ +--- PASS: TestCases/", output, re.MULTILINE)) > 50, output
    assert "--- FAIL" not in output


def test_the_go_client_needs_the_standard_library_alone() -> None:
    assert "require" not in (GO / "go.mod").read_text()
