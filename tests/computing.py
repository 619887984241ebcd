"""Functions for processes, which import them by name."""

import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


class Exacting(Exception):
    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")


def be_exacting() -> None:
    raise Exacting("payload", "odd")


def compute(note: Path) -> None:
    """Say who computes, with what child, and do not end."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    note.with_suffix(".new").write_text(f"{os.getpid()} {child.pid}")
    note.with_suffix(".new").rename(note)
    while True:
        pass


def die(after: Path) -> None:
    """As of want of memory, once the other has begun."""
    while not after.exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def finish(note: Path, until: Path) -> str:
    note.touch()
    while not until.exists():
        time.sleep(0.01)
    return "finished"


def _imported() -> str:
    return "imported"


class SlowToImport:
    """As a function of a module that takes its time, once in a process."""

    def __reduce__(self) -> tuple[Callable[[], Callable[[], str]], tuple[()]]:
        return _imported_once, ()


@functools.cache
def _imported_once() -> Callable[[], str]:
    time.sleep(1)
    return _imported


class DeadlyToImport:
    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return os._exit, (9,)


def add_one(number: int) -> int:
    return number + 1


def give_a_lambda(_payload: object) -> object:
    return lambda: None


class OneWay:
    """Can be pickled, and not read again."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return _unreadable, ()


def _unreadable() -> None:
    raise ValueError("unreadable")


def give_what_only_it_reads(_payload: object) -> OneWay:
    return OneWay()
