"""Exiting the process while threads still run in it."""

import atexit
import contextlib
import logging
import os
import sys
import threading
from typing import NoReturn

_CLEANUP_S = 5.0


def exit_process(status: int) -> NoReturn:
    """Exit with this status, after flushing output and running atexit functions, for at most five seconds.

    Python itself would wait for the threads first.
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
