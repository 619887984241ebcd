"""The operator's command line: run it, or write the CustomResourceDefinitions it serves."""

import argparse
import asyncio
import contextlib
import logging
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from protoqueue.protocol.servers import shown_server, split_servers
from protoqueue_operator.api.v1alpha1.crd import crds
from protoqueue_operator.api.v1alpha1.fields import parse_quantity
from protoqueue_operator.api.v1alpha1.kinds import CUSTOM_KINDS, WATCHED_KINDS
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.schema_docs import explained

DEEPEST_JSON = 30_000
"""An API server stores JSON nested in up to 10,000 levels. Our definitions are shallow, but older ones may still be
installed, and one object that cannot be decoded would end every watch of its kind."""

if TYPE_CHECKING:
    from protoqueue_operator.settings import Settings

logger = logging.getLogger(__name__)

_PAUSE_S = 1.0
"""The delay before a restart."""

_SHUTDOWN_TIMEOUT_S = 30.0
"""After a failure. What takes longer hangs."""

_LISTING_TIMEOUT_S = 5.0
"""Nothing answers probes before that."""

DEFAULT_NATS_URL = "nats://127.0.0.1:4222"


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.command == "crds":
        write_crds(options.directory)
        return 0
    return release(options) if options.command == "release" else run(options)


def write_crds(directory: Path) -> None:
    """Write one file per definition, as `make crds` keeps them in the repository."""
    for plural, definition in crds().items():
        for version in definition["spec"]["versions"]:
            version["schema"]["openAPIV3Schema"] = explained(version["schema"]["openAPIV3Schema"])
        text = yaml.dump(_compact(definition), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
        header = "# Generated from the pydantic models by `make crds`; a test fails when it is stale.\n"
        (directory / f"{plural}.yaml").write_text(header + text)


class _Flow(dict[str, Any]):
    """A mapping that is written on as few lines as possible."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(
    _Flow, lambda dumper, data: dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=True)
)


def _compact(part: Any, name: str = "") -> Any:
    """Otherwise the schema of a pod template would be nine tenths of its file."""
    if isinstance(part, dict):
        if name == "template":
            return _Flow(part)
        return {key: _compact(value, key) for key, value in part.items()}
    return [_compact(each) for each in part] if isinstance(part, list) else part


def run(options: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT.

    After a failure, or the loss of the Lease, it restarts in the same process with no state kept.
    """
    import kopf

    sys.setrecursionlimit(DEEPEST_JSON)
    from protoqueue.observability.log import PrintableFormatter
    from protoqueue_operator import handlers

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=options.log_level.upper(), handlers=[handler])
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLogger().level))
    try:
        handlers.log_in()
    except kopf.LoginError as error:
        logger.error("cannot reach Kubernetes: %s", error)
        return 1
    try:
        while True:
            _end_at_once_when_asked_to()
            with asyncio.Runner(loop_factory=_event_loop) as runner:
                why = runner.run(_run_once(options))
            if why is None:
                return 0
            _end_at_once_when_asked_to()
            logger.warning("restarting: %s", why)
            time.sleep(_PAUSE_S)
    except _Interrupted:
        return 0


def _end_at_once_when_asked_to() -> None:
    """Between two runs; during one kopf has signal handlers of its own, and removes these with them."""

    def ended(*_: object) -> None:
        raise _Interrupted

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ended)


def release(options: argparse.Namespace) -> int:
    """Release what the operator holds, before it is removed; 1 if the API server refuses."""
    import kopf

    from protoqueue_operator import handlers
    from protoqueue_operator.runtime.client import ApiError, Kubernetes
    from protoqueue_operator.uninstall import release_all

    sys.setrecursionlimit(DEEPEST_JSON)
    lease = _lease(options.leader_elect)
    assert lease

    async def work() -> int:
        kubernetes = Kubernetes(handlers.log_in, CUSTOM_KINDS)
        try:
            return await release_all(kubernetes, lease, options.namespace)
        finally:
            await kubernetes.close()

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        released = asyncio.run(work())
    except kopf.LoginError as error:
        logger.error("cannot reach Kubernetes: %s", error)
        return 1
    except ApiError as error:
        logger.error("not released: status=%s error=%s", error.status, error)
        return 1
    logger.info("released: objects=%s; they and their streams stay as they are", released)
    return 0


async def _run_once(options: argparse.Namespace) -> str | None:
    """One run; returns why it ended, or None if it was asked to."""
    import kopf

    from protoqueue_operator import handlers
    from protoqueue_operator.manager import Manager
    from protoqueue_operator.runtime.client import Kubernetes
    from protoqueue_operator.runtime.resync import refused_namespaces

    halted = asyncio.Event()
    kubernetes = Kubernetes(handlers.log_in, CUSTOM_KINDS)
    refused: dict[str, str] = {}
    with contextlib.suppress(TimeoutError, kopf.LoginError):
        async with asyncio.timeout(_LISTING_TIMEOUT_S):
            refused = await refused_namespaces(kubernetes, WATCHED_KINDS, options.namespace)
    # If all are refused it waits for all of them.
    served = [each for each in options.namespace if each not in refused] or options.namespace
    manager = Manager(_settings(options, served), kubernetes, halted.set, refused if served else {})
    before = asyncio.all_tasks()
    # Otherwise kopf looks up the user's name, which a container's user may not have. It is not used here.
    identity: Any = "protoqueue-operator"
    tasks = await kopf.spawn_tasks(
        identity=identity,
        clusterwide=not options.namespace,
        namespaces=served,
        standalone=True,
        stop_flag=halted,
        memo=manager,
    )
    last_resort: list[asyncio.TimerHandle] = []

    def part_ended(task: "asyncio.Task[Any]") -> None:
        manager.part_ended(task)
        if manager.ended_because and not last_resort:
            last_resort.append(asyncio.get_running_loop().call_later(_SHUTDOWN_TIMEOUT_S, _exit))
            _cancel_watchers()

    for task in tasks:
        task.add_done_callback(part_ended)
    try:
        await kopf.run_tasks(tasks, ignored=before)
    except Exception:
        if manager.ended_because is None or not manager.has_started:
            raise
    finally:
        for timer in last_resort:
            timer.cancel()
    return manager.ended_because


def _cancel_watchers() -> None:
    """Cancel the tasks that a failed run leaves behind: kopf forgets them, and then waits for them for ever."""
    for task in asyncio.all_tasks():
        if task.get_name().startswith("watcher for "):
            task.cancel()


def _exit() -> None:
    logger.critical("shutdown did not finish in time: exiting")
    logging.shutdown()
    os._exit(1)


def _settings(options: argparse.Namespace, namespaces: Sequence[str]) -> "Settings":
    from protoqueue_operator.nats.mounted import MountedCredentials
    from protoqueue_operator.settings import DEFAULT_SYNC_PERIOD_S, DEFAULT_TARGET_PERIOD_S, Settings

    mounted = MountedCredentials(options.nats_url, os.environ)
    return Settings(
        credentials=mounted.read(),
        read_credentials=mounted.read,
        worker_nats_url=_shown(options.worker_nats_url),
        monitoring_url=options.liveness,
        lease=_lease(options.leader_elect),
        identity=f"{socket.gethostname()}_{os.getpid()}",
        namespaces=tuple(namespaces),
        max_bytes_per_namespace=options.max_bytes_per_namespace,
        sync_period_s=options.sync_period or DEFAULT_SYNC_PERIOD_S,
        target_period_s=options.target_period or DEFAULT_TARGET_PERIOD_S,
    )


class _Interrupted(BaseException):
    """Asked to stop while nothing runs."""


def _shown(url: str | None) -> str | None:
    return ",".join(map(shown_server, split_servers(url))) if url else None


def _lease(text: str | None) -> Key | None:
    if not text:
        return None
    namespace, _, name = text.partition("/")
    return Key("Lease", namespace, name)


def _lease_name(text: str) -> str:
    if not re.fullmatch(r"[^/]+/[^/]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a Lease: write <namespace>/<name>")
    return text


def _namespace(text: str) -> str:
    """A name: patterns, which kopf would take, cannot be listed."""
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a namespace")
    return text


def _event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="protoqueue-operator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    crds_command = commands.add_parser("crds", help="write the CustomResourceDefinitions")
    crds_command.add_argument("directory", type=Path)
    release_command = commands.add_parser(
        "release", help="take the operator's finalizers off all Queues and ConsumerGroups, before it is removed"
    )
    release_command.add_argument(
        "--namespace",
        action="append",
        type=_namespace,
        default=[],
        help="only in this one; may be given more than once",
    )
    release_command.add_argument(
        "--leader-elect",
        metavar="NAMESPACE/NAME",
        type=_lease_name,
        required=True,
        help="Lease of the operators, which is taken so that none of them acts meanwhile",
    )
    run_command = commands.add_parser("run", help="run the operator")
    run_command.add_argument(
        "--nats-url",
        default=os.environ.get("PROTOQUEUE_NATS_URL", DEFAULT_NATS_URL),
        help="NATS server, or several with commas between them (PROTOQUEUE_NATS_URL)",
    )
    run_command.add_argument(
        "--worker-nats-url",
        default=os.environ.get("PROTOQUEUE_WORKER_NATS_URL"),
        help="what workers are given as theirs, where it differs (PROTOQUEUE_WORKER_NATS_URL)",
    )
    run_command.add_argument(
        "--namespace",
        action="append",
        type=_namespace,
        default=[],
        help="watch only this one; may be given more than once",
    )
    run_command.add_argument(
        "--max-bytes-per-namespace",
        type=parse_quantity,
        metavar="SIZE",
        help="how much the Queues of a namespace may reserve together by limits.maxBytes and history.maxBytes, "
        "replicas counted; with it "
        "each Queue on the operator's own NATS has to state limits.maxBytes (default: no limit)",
    )
    run_command.add_argument(
        "--sync-period",
        type=float,
        metavar="SECONDS",
        help="how often what the watches brought is compared with a listing",
    )
    run_command.add_argument(
        "--target-period",
        type=float,
        metavar="SECONDS",
        help="how often what a scaleTargetRef names is asked for its size",
    )
    run_command.add_argument(
        "--liveness", help="URL to answer probes on, such as http://0.0.0.0:8080/healthz; /metrics is beside it"
    )
    run_command.add_argument(
        "--leader-elect",
        metavar="NAMESPACE/NAME",
        type=_lease_name,
        help="Lease to contend for, where several replicas run; without it this one acts at once",
    )
    run_command.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    return parser


if __name__ == "__main__":
    sys.exit(main())
