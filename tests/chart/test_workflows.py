"""What can be said of the workflows without running them: GitHub alone can do that."""

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from chart.rendering import ROOT

WORKFLOWS = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")}
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job.get("steps", [])


def test_every_action_is_pinned_to_a_commit() -> None:
    used = [step["uses"] for workflow in WORKFLOWS.values() for step in steps(workflow) if "uses" in step]
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", each)] == []


def test_every_make_target_and_script_called_exists() -> None:
    for workflow in WORKFLOWS.values():
        for command in (step["run"] for step in steps(workflow) if "run" in step):
            assert set(re.findall(r"\bmake ([a-z0-9-]+)", command)) <= TARGETS
            assert all((ROOT / script).exists() for script in re.findall(r"(?:hack|\.ci)/\S+?(?=[\s\")]|$)", command))


def test_nobody_gets_more_than_to_read_unless_it_publishes() -> None:
    for workflow in WORKFLOWS.values():
        assert workflow["permissions"] == {"contents": "read"}
    writing = {name for name, job in WORKFLOWS["release"]["jobs"].items() if "permissions" in job}
    assert writing == {"images", "chart", "index"}


def test_what_proves_who_we_are_is_out_of_reach_of_what_builds() -> None:
    for workflow in WORKFLOWS.values():
        for job in workflow["jobs"].values():
            if "id-token" in job.get("permissions", ()):
                assert "run" not in {key for step in job["steps"] for key in step}
                assert job["environment"] == "release"


def test_nothing_is_published_before_everything_is_green() -> None:
    jobs = WORKFLOWS["release"]["jobs"]

    def before(name: str) -> set[str]:
        needs = jobs[name].get("needs", [])
        direct = {needs} if isinstance(needs, str) else set(needs)
        return direct.union(*(before(each) for each in direct))

    for name in ("images", "chart", "index"):
        assert {"ci", "version"} <= before(name)


def test_every_target_of_the_dockerfile_that_is_an_image_is_published() -> None:
    targets = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    images = {target for target in targets if target != "build" and not target.endswith("-files")}
    assert set(WORKFLOWS["release"]["jobs"]["images"]["strategy"]["matrix"]["target"]) == images


@pytest.mark.parametrize(("version", "code"), [("0.0.0", 1), ("", 1)])
def test_a_tag_that_is_not_the_version_releases_nothing(version: str, code: int) -> None:
    done = check_version(version)
    assert done.returncode == code
    assert "the release is to be" in done.stderr


def test_one_version_is_written_down_everywhere() -> None:
    chart = yaml.safe_load((ROOT / "charts" / "protoqueue" / "Chart.yaml").read_text())
    done = check_version(chart["version"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == chart["version"]


def check_version(version: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "hack" / "check_version.py"), version]
    return subprocess.run(command, capture_output=True, text=True, timeout=10)
