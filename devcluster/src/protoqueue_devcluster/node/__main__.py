"""`python -m protoqueue_devcluster.node`: run pods as processes of this machine until SIGTERM."""

import argparse
import sys
from pathlib import Path

from protoqueue_devcluster.daemon import run_daemon
from protoqueue_devcluster.node.agent import NodeOptions, run_node


def main() -> int:
    parser = argparse.ArgumentParser(prog="protoqueue_devcluster.node", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--name", required=True, help="name of the Node object")
    parser.add_argument("--dir", type=Path, required=True, help="where pods keep volumes and logs")
    parser.add_argument("--workdir", type=Path, default=Path.cwd(), help="working directory of containers without one")
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE", help="label of the Node object")
    parser.add_argument("--address", default="127.0.0.1", help="where the API server reaches the logs endpoint")
    parser.add_argument(
        "--bind",
        action="store_true",
        help="be the guest of a real cluster: taint the node, bind pods that select it, run no others",
    )
    parser.add_argument("--restart-backoff", type=float, default=10.0, metavar="SECONDS", help="first restart delay")
    options = parser.parse_args()
    return run_daemon(
        run_node(
            NodeOptions(
                kubeconfig=options.kubeconfig,
                name=options.name,
                directory=options.dir.resolve(),
                working_dir=options.workdir.resolve(),
                labels=dict(label.split("=", 1) for label in options.label),
                address=options.address,
                guest=options.bind,
                restart_backoff_s=options.restart_backoff,
            )
        )
    )


if __name__ == "__main__":
    sys.exit(main())
