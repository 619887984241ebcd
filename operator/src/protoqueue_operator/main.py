"""The operator's command line: run it, or write the CustomResourceDefinitions it serves."""

import argparse
import asyncio
import logging
import os
import re
import socket
import sys
from pathlib import Path

import yaml

from protoqueue.servers import shown_server, split_servers
from protoqueue_operator.core.crds import crds
from protoqueue_operator.core.explanation import explained
from protoqueue_operator.core.resources import Key

DEFAULT_NATS_URL = "nats://127.0.0.1:4222"


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.command == "crds":
        write_crds(options.directory)
        return 0
    return run(options)


def write_crds(directory: Path) -> None:
    """Write one file per definition, as `make crds` keeps them in the repository."""
    for plural, definition in crds().items():
        for version in definition["spec"]["versions"]:
            version["schema"]["openAPIV3Schema"] = explained(version["schema"]["openAPIV3Schema"])
        text = yaml.safe_dump(definition, sort_keys=False, allow_unicode=True, width=120)
        header = "# Generated from the pydantic models by `make crds`; a test fails when it is stale.\n"
        (directory / f"{plural}.yaml").write_text(header + text)


def run(options: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT, or until leadership is lost, which is exit code 1."""
    import kopf

    from protoqueue_operator import handlers
    from protoqueue_operator.adapters.kubernetes import Kubernetes
    from protoqueue_operator.adapters.mounted import MountedCredentials
    from protoqueue_operator.reconcile.operation import Operation
    from protoqueue_operator.reconcile.runtime import DEFAULT_SYNC_PERIOD_S, DEFAULT_TARGET_PERIOD_S, Settings

    logging.basicConfig(
        level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLogger().level))
    mounted = MountedCredentials(options.nats_url, os.environ)
    settings = Settings(
        credentials=mounted.read(),
        read_credentials=mounted.read,
        worker_nats_url=_shown(options.worker_nats_url),
        monitoring_url=options.liveness,
        lease=_lease(options.leader_elect),
        identity=f"{socket.gethostname()}_{os.getpid()}",
        namespaces=tuple(options.namespace),
        sync_period_s=options.sync_period or DEFAULT_SYNC_PERIOD_S,
        target_period_s=options.target_period or DEFAULT_TARGET_PERIOD_S,
    )
    halted = asyncio.Event()
    operation = Operation(settings, Kubernetes(handlers.log_in), halted.set)
    kopf.run(
        loop=_event_loop(),
        clusterwide=not options.namespace,
        namespaces=options.namespace,
        standalone=True,
        stop_flag=halted,
        memo=operation,
    )
    return 1 if operation.was_deposed else 0


def _shown(url: str | None) -> str | None:
    return ",".join(map(shown_server, split_servers(url))) if url else None


def _lease(text: str | None) -> Key | None:
    if not text:
        return None
    namespace, _, name = text.partition("/")
    return Key("Lease", namespace, name)


def _lease_name(text: str) -> str:
    if not re.fullmatch(r"[^/]+/[^/]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no Lease: write <namespace>/<name>")
    return text


def _namespace(text: str) -> str:
    """A name: patterns, which kopf would take, cannot be listed."""
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no name of a namespace")
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
