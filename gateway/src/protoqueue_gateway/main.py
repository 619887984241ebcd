"""`protoqueue-gateway`: the command line, and the server."""

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType
from typing import Any

import uvicorn

from protoqueue_gateway.api.bounded_protocol import bounded
from protoqueue_gateway.api.edge import is_loopback
from protoqueue_gateway.app import at_the_edge, build_app, running_services
from protoqueue_gateway.kubernetes.errors import KubernetesError
from protoqueue_gateway.service.messages import Messages
from protoqueue_gateway.settings import Settings, SettingsError, read_settings

log = logging.getLogger("protoqueue_gateway")

KEEP_ALIVE_S = 75
GRACE_S = 20


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="protoqueue-gateway", description="Serve ProtoQueue's queues over HTTP.")
    parser.add_argument("--host", default=None, help="address to listen at (0.0.0.0; 127.0.0.1 without authentication)")
    parser.add_argument(
        "--port", type=int, default=None, help="port to listen at, else PORT, else 8080; 0 for a free one"
    )
    parser.add_argument(
        "--insecure-no-auth", action="store_true", help="let everybody do everything; on a loopback address only"
    )
    options = parser.parse_args(arguments)
    try:
        settings = _settings(options)
    except SettingsError as error:
        parser.exit(2, f"protoqueue-gateway: {error}\n")
    _set_up_logging(settings.log_level)
    if settings.ignores_redis:
        log.info("REDIS_URL is ignored: JetStream does what Redis did")
    try:
        uvloop_run(serve(settings))
    except KubernetesError as error:
        sys.exit(f"protoqueue-gateway: {error}")


def _settings(options: argparse.Namespace) -> Settings:
    settings = read_settings(os.environ)
    host = options.host or ("127.0.0.1" if options.insecure_no_auth else settings.host)
    if options.insecure_no_auth and not (host == "localhost" or is_loopback(host)):
        raise SettingsError(f"--insecure-no-auth is for a loopback address, and {host} can be reached by others")
    port = settings.port if options.port is None else options.port
    return replace(settings, host=host, port=port, insecure=options.insecure_no_auth)


def _set_up_logging(level: str) -> None:
    logging.basicConfig(level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for name in ("uvicorn.access", "httpx", "httpx2", "httpcore", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)  # their lines hold paths, and so receipts


def uvloop_run(coroutine: Any) -> None:
    if sys.platform == "win32":
        asyncio.run(coroutine)
        return
    import uvloop

    uvloop.run(coroutine)


async def serve(settings: Settings) -> None:
    """Serve until a signal. Raises KubernetesError where there is no configuration for Kubernetes."""
    async with running_services(settings) as services:
        app = at_the_edge(build_app(services), services)
        http = bounded(settings.head_timeout_s, settings.body_timeout_s)
        config = uvicorn.Config(
            app, host=settings.host, port=settings.port, http=http, ws="none", lifespan="off",
            access_log=False, log_config=None, server_header=False, date_header=True, proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S, timeout_graceful_shutdown=GRACE_S,
        )  # fmt: skip
        await Server(config, services.messages).serve()


class Server(uvicorn.Server):
    """Ends long polls before it waits for requests to end, and says where it listens."""

    def __init__(self, config: uvicorn.Config, messages: Messages) -> None:
        super().__init__(config)
        self._messages = messages

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers:
            for each in server.sockets:
                host, port = each.getsockname()[:2]
                log.info("listening on http://%s:%d", host, port)

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """Uvicorn's own raises the signal again at the end: to be told to stop is not a failure here."""
        self._messages.stop()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
