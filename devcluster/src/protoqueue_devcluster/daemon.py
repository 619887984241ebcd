"""How the devcluster's own processes run: one coroutine, log lines on stderr, an orderly end on SIGTERM."""

import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine


def run_daemon(work: Coroutine[object, object, None]) -> int:
    """Run `work` until it ends or a signal cancels it; returns the exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        asyncio.run(_until_signalled(work))
    except Exception:
        logging.getLogger(__name__).exception("stopped by an error it cannot handle")
        return 1
    return 0


async def _until_signalled(work: Coroutine[object, object, None]) -> None:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        logging.getLogger(__name__).info("stopped")
