"""A docker daemon to build images with: the one that answers, else one of our own with a base from debootstrap."""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chart.rendering import ROOT

LOCAL_BASE = "protoqueue-test/base"
PACKAGES = "ca-certificates,python3,python3-pip,python3-venv"
HOSTS_OWN = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
"""What a machine behind a proxy needs to reach its package index; only the base made here is given them."""


@dataclass(frozen=True)
class Docker:
    """The command line against one daemon. `base` is the image to build from, or empty for the Dockerfile's own.

    A daemon of our own has no networks but the host's.
    """

    host: str
    base: str
    has_networks: bool = True

    def __call__(self, *arguments: str, stdin: int | None = None, check: bool = True) -> str:
        environment = {**os.environ, "DOCKER_BUILDKIT": "1"} | ({"DOCKER_HOST": self.host} if self.host else {})
        done = subprocess.run(
            [program(), *arguments], stdin=stdin, capture_output=True, text=True, timeout=500, env=environment
        )
        output = done.stdout + done.stderr
        assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {output[-3000:]}"
        return output

    def build(self, target: str, context: Path, *options: str) -> str:
        """The image's name."""
        tag = f"protoqueue-test/{target}"
        base = ["--build-arg", f"BASE={self.base}"] if self.base else []
        self("build", "--network", "host", "--target", target, "--tag", tag, *base, *options, str(context))
        return tag

    def files(self, image: str, directory: Path) -> dict[str, tuple[object, ...]]:
        """What is in an image: of each path the time, the mode, and the content's hash or where a link leads."""
        container = self("create", image, "-").split()[0]
        archive = directory / f"{container}.tar"
        self("export", "--output", str(archive), container)
        self("rm", container)
        with tarfile.open(archive) as members:
            return {each.name: (each.mtime, each.mode, _content(members, each)) for each in members}


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = archive.extractfile(member) if member.isfile() else None
    return hashlib.sha256(file.read()).hexdigest() if file else member.linkname


def program() -> str:
    """Debian's docker comes with BuildKit in the daemon; a newer client alone would want a plugin for it."""
    return shutil.which("docker", path="/usr/bin") or shutil.which("docker") or "docker"


@contextlib.contextmanager
def docker() -> Iterator[Docker]:
    """Skips the test, with the reason, where there is no daemon or no base image, and none can be had."""
    # Not one of pytest's directories, of which it keeps the last three: an image store is a gigabyte.
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="protoqueue-docker-")))
        is_ours = not (shutil.which("docker") and answers(""))
        if not is_ours:
            host = ""
        else:
            require("no docker daemon answers", "docker", "dockerd")
            host = stack.enter_context(daemon(scratch))
        if can_pull(host):
            yield Docker(host, "", not is_ours)
        else:
            require("the Dockerfile's base image cannot be pulled", "debootstrap")
            import_base(scratch / "base", host, LOCAL_BASE)
            yield Docker(host, LOCAL_BASE, not is_ours)


def require(trouble: str, *tools: str) -> None:
    """Skips the test unless root can help itself with these."""
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        pytest.skip(
            f"{trouble}, and there is no {' or '.join(missing)} here (Debian: apt install docker.io debootstrap)"
        )
    if os.geteuid() != 0:
        pytest.skip(f"{trouble}, and only root can run {' and '.join(tools)}: sudo make images")


def can_pull(host: str) -> bool:
    (base,) = re.findall(r"^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    try:
        Docker(host, "")("pull", "--quiet", base)
    except (AssertionError, subprocess.TimeoutExpired):
        return False
    return True


def answers(host: str) -> bool:
    environment = os.environ | ({"DOCKER_HOST": host} if host else {})
    return subprocess.run([program(), "version"], env=environment, capture_output=True, timeout=100).returncode == 0


@contextlib.contextmanager
def daemon(directory: Path) -> Iterator[str]:
    """A dockerd of our own, without networks: containers use the host's. Skips the test where it does not start."""
    host = f"unix://{directory}/docker.sock"
    options = ["--data-root", "data", "--exec-root", "exec", "--pidfile", "pid"]
    places = [str(directory / option) if not option.startswith("--") else option for option in options]
    with (directory / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(
            ["dockerd", "-H", host, *places, "--bridge=none", "--iptables=false", "--ip-masq=false"],
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + 30
        while not answers(host):
            if process.poll() is not None or time.monotonic() > deadline:
                end = (directory / "dockerd.log").read_text()[-300:]
                pytest.skip(f"dockerd does not start here: {end}")
            time.sleep(0.2)
        yield host
    finally:
        process.terminate()
        process.wait(30)
        # What dockerd leaves mounted after a container on the host's network; nothing can be deleted around it.
        subprocess.run(["umount", str(directory / "exec" / "netns" / "default")], capture_output=True)


def import_base(root: Path, host: str, name: str) -> None:
    """Make a minimal Debian with Python and import it as an image. Skips the test where Debian cannot be reached."""
    made = subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root)],
        capture_output=True,
        text=True,
        timeout=400,
    )
    if made.returncode != 0:
        pytest.skip(f"debootstrap made no base image: {made.stdout[-300:]}")
    for file in filter(os.path.exists, HOSTS_OWN):
        shutil.copyfile(file, root / file.lstrip("/"))
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as archive:
        assert archive.stdout
        Docker(host, "")("import", "-", name, stdin=archive.stdout.fileno())
