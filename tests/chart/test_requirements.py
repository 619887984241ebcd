import re
import tomllib
from pathlib import Path

import pytest

from chart.rendering import ROOT


def test_every_image_installs_only_what_is_pinned_for_all() -> None:
    pins = blocks(ROOT / "requirements.txt")
    for name in ("operator", "worker", "build"):
        file = ROOT / f"requirements-{name}.txt"
        assert blocks(file) <= pins, f"{file.name}: run `make requirements`"
        assert file.read_text().count("--hash=sha256:") >= len(blocks(file))


@pytest.mark.parametrize(("name", "folder"), [("operator", "operator"), ("worker", "worker-sdk")])
def test_every_image_installs_all_that_its_distribution_needs(name: str, folder: str) -> None:
    project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[\[<>=;\s]", each)[0] for each in project["dependencies"]}
    pinned = {re.split(r"[=\s]", block)[0] for block in blocks(ROOT / f"requirements-{name}.txt")}
    assert needed - {"protoqueue"} <= pinned


@pytest.mark.parametrize("folder", ["worker-sdk", "operator", "devcluster"])
def test_every_distribution_says_what_it_is_for_and_brings_its_license(folder: str) -> None:
    project = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
    assert "`protoqueue" in project["readme"]["text"]
    assert (ROOT / folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


def blocks(file: Path) -> set[str]:
    """The requirements of a file, each with its hashes."""
    return set(re.split(r"\n(?=\S)", file.read_text().strip()))
