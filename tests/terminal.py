"""A program in a terminal of a given size."""

import asyncio
import contextlib
import fcntl
import os
import re
import signal
import struct
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

from rich.cells import cell_len

PROTOQUEUE = str(Path(sys.executable).parent / "protoqueue")
_ENVIRONMENT = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TERM", "PROTOQUEUE_", "NATS_URL", "KUBECONFIG")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def environment(**variables: str) -> dict[str, str]:
    """The shell's, without what would change what is shown, and with these."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(_ENVIRONMENT)}
    return kept | {"TERM": "xterm-256color"} | variables


class Terminal:
    """Shows what the program writes; `close` when done."""

    def __init__(self, columns: int = 80, lines: int = 24) -> None:
        self.columns = columns
        self._mine, self._its = os.openpty()
        fcntl.ioctl(self._its, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._read = b""
        self._process: asyncio.subprocess.Process | None = None

    async def run(self, *words: str, env: Mapping[str, str], cwd: Path | None = None) -> "Terminal":
        """Run a program to its end."""
        await self.start(*words, env=env, cwd=cwd)
        await self.ended()
        return self

    async def start(self, *words: str, env: Mapping[str, str], cwd: Path | None = None) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *words, stdin=self._its, stdout=self._its, stderr=self._its, env=env, cwd=cwd, preexec_fn=_take_terminal
        )
        asyncio.get_running_loop().add_reader(self._mine, self._take)

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            self._read += os.read(self._mine, 65536)

    def type(self, keys: str) -> None:
        """`\\x03` is Ctrl-C."""
        os.write(self._mine, keys.encode())

    async def ended(self, timeout_s: float = 100) -> int:
        """The exit status, negative for a signal."""
        assert self._process
        status = await asyncio.wait_for(self._process.wait(), timeout_s)
        await asyncio.sleep(0)  # what is left in the terminal
        self._take_all()
        return status

    def _take_all(self) -> None:
        os.set_blocking(self._mine, False)
        with contextlib.suppress(OSError):
            while chunk := os.read(self._mine, 65536):
                self._read += chunk

    @property
    def raw(self) -> str:
        return self._read.decode(errors="replace")

    @property
    def is_coloured(self) -> bool:
        return _COLOUR.search(self.raw) is not None

    @property
    def lines(self) -> list[str]:
        """All that was shown so far, without what moves the cursor, the keys, and spaces at the ends."""
        return [line.rstrip() for line in re.split(r"\r?\n|\r", _CONTROL.sub("", self.raw).replace("^C", ""))]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def widest(self) -> int:
        return max(map(cell_len, self.lines))

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._mine)
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        os.close(self._its)
        os.close(self._mine)


def _take_terminal() -> None:
    """In the child: be the terminal's foreground session, so that Ctrl-C goes there, and heed it.

    What a shell starts in the background ignores it, and so would all that the tests start then.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
