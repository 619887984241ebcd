"""Ending the process although threads still run in it."""

import atexit
import contextlib
import logging
import os
import sys
import threading
from typing import NoReturn

_CLEANUP_S = 5.0


def exit_process(status: int) -> NoReturn:
    """End with this status; what the program wrote is flushed, and what it registered with atexit runs, first.

    Python would wait for its threads before either. What takes longer than five seconds is left undone.
    """
    cleanup = threading.Thread(target=_clean_up, name="protoqueue-leaving", daemon=True)
    cleanup.start()
    cleanup.join(_CLEANUP_S)
    os._exit(status)


def _clean_up() -> None:
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()  # noqa: SLF001  # there is no other way to have them run
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
