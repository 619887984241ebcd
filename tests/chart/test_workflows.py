"""What can be said of the workflows without running them: GitHub alone can do that."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
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
    assert writing == {"images", "chart", "sign", "index"}


def test_what_proves_who_we_are_is_out_of_reach_of_what_builds() -> None:
    for workflow in WORKFLOWS.values():
        for job in workflow["jobs"].values():
            if "id-token" in job.get("permissions", ()):
                assert job["environment"] == "release"
                assert not [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout")]
                assert all("cosign sign" in step["run"] for step in job["steps"] if "run" in step)


def test_nothing_is_published_before_everything_is_green() -> None:
    jobs = WORKFLOWS["release"]["jobs"]

    def before(name: str) -> set[str]:
        needs = jobs[name].get("needs", [])
        direct = {needs} if isinstance(needs, str) else set(needs)
        return direct.union(*(before(each) for each in direct))

    for name in ("images", "chart", "sign", "index"):
        assert {"ci", "version"} <= before(name)


def test_everything_that_is_pushed_to_a_registry_is_signed_by_its_digest() -> None:
    jobs = WORKFLOWS["release"]["jobs"]
    pushing = {name for name, job in jobs.items() if job.get("permissions", {}).get("packages") == "write"} - {"sign"}
    assert pushing == {"images", "chart"}
    assert pushing <= set(jobs["sign"]["needs"])
    for name in pushing:
        assert any("signed-" in step.get("with", {}).get("name", "") for step in jobs[name]["steps"])


def test_images_are_scanned_before_any_is_published() -> None:
    scan = WORKFLOWS["ci"]["jobs"]["scan"]
    assert (
        scan["strategy"]["matrix"]["target"] == WORKFLOWS["release"]["jobs"]["images"]["strategy"]["matrix"]["target"]
    )
    (scanning,) = (step["with"] for step in scan["steps"] if "scan-action" in step.get("uses", ""))
    assert scanning["severity-cutoff"] == "high"
    assert "fail-build" not in scanning, "it is to fail, which is the default"
    assert "schedule" in WORKFLOWS["ci"][True], "yaml reads `on` as a truth"


PIN = f"@sha256:{'0' * 64}"


def test_a_release_is_refused_while_an_image_has_no_digest(tmp_path: Path) -> None:
    """As long as some have none here, this very repository is refused."""
    files = ("Dockerfile", ".github/workflows/release.yml", "charts/protoqueue/values.yaml", "hack/check_pins.py")
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(re.sub(r"@sha256:[0-9a-f]{64}", "", (ROOT / file).read_text()))
    refused = check_pins(tmp_path)
    assert refused.returncode == 1
    for part in ("ARG BASE=python", "BINFMT_IMAGE", "BUILDKIT_IMAGE", "nats.bundled.image.digest"):
        assert part in refused.stderr
    pin(tmp_path / "Dockerfile", r"(?m)^(ARG BASE=\S+)$", rf"\1{PIN}")
    pin(tmp_path / ".github/workflows/release.yml", r"(?m)^(  \w+_IMAGE: \S+)$", rf"\1{PIN}")
    assert check_pins(tmp_path).returncode == 1
    pin(tmp_path / "charts/protoqueue/values.yaml", r'(?s)(bundled:.*?digest: )""', rf'\1"{PIN[1:]}"')
    assert check_pins(tmp_path).returncode == 0
    (version,) = (job["steps"] for name, job in WORKFLOWS["release"]["jobs"].items() if name == "version")
    assert "python3 hack/check_pins.py" in [step.get("run") for step in version]


def pin(file: Path, found: str, pinned: str) -> None:
    text, count = re.subn(found, pinned, file.read_text())
    assert count
    file.write_text(text)


def check_pins(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(root / "hack" / "check_pins.py")]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def test_what_installs_packages_wants_their_hashes() -> None:
    makefile = (ROOT / "Makefile").read_text()
    installs = [line for line in makefile.splitlines() if "$(PIP)" in line and ":=" not in line and "-e " not in line]
    assert len(installs) >= 2
    assert [line for line in installs if "--require-hashes" not in line and "--no-deps" not in line] == []
    assert "--hash=sha256:" in (ROOT / "hack" / "uv-requirements.txt").read_text()


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
    return subprocess.run(command, capture_output=True, text=True, timeout=100)
