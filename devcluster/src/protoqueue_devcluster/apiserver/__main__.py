"""`python -m protoqueue_devcluster.apiserver --dir DIR`: serve until SIGTERM, reachable through `DIR/kubeconfig`."""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from .authentication import make_credentials, write_kubeconfig
from .cluster import Cluster
from .expiry import sweep
from .journal import Journal
from .negotiation import DEEPEST
from .server import RequestLog, Server

HOST = "127.0.0.1"
logger = logging.getLogger("protoqueue.apiserver")


async def serve(directory: Path, port: int, request_log: Path | None, kept: Path | None) -> None:
    """Serve on the loopback interface until SIGTERM or SIGINT."""
    credentials = make_credentials(HOST, "localhost")
    cluster = Cluster()
    journal = None if kept is None else Journal(kept)
    cluster.start(journal)
    server = Server(cluster, credentials, RequestLog(request_log) if request_log is not None else None)
    runner = web.AppRunner(server.application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    site = web.TCPSite(runner, HOST, port, ssl_context=credentials.context, backlog=1024)
    await site.start()
    bound = runner.addresses[0][1]
    url = f"https://{HOST}:{bound}"
    write_kubeconfig(directory / "kubeconfig", url, credentials)
    logger.info("serving url=%s kubeconfig=%s", url, directory / "kubeconfig")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sweeping = asyncio.create_task(sweep(cluster.store))
    await stop.wait()
    sweeping.cancel()
    cluster.store.close()
    await runner.cleanup()
    if journal is not None:
        journal.close()


def main() -> None:
    sys.setrecursionlimit(3 * DEEPEST)
    parser = argparse.ArgumentParser(prog="protoqueue-apiserver", description=__doc__)
    parser.add_argument("--dir", type=Path, required=True, help="where the kubeconfig goes")
    parser.add_argument("--port", type=int, default=0, help="0 chooses a free one")
    parser.add_argument("--request-log", type=Path, help="append one JSON line per request to this file")
    parser.add_argument(
        "--keep", type=Path, metavar="FILE", help="have the objects again from this file after a restart"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    arguments.dir.mkdir(parents=True, exist_ok=True)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(arguments.dir, arguments.port, arguments.request_log, arguments.keep))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Uvloop's where it is installed (everywhere but on Windows): it makes TLS and sockets cheaper."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
