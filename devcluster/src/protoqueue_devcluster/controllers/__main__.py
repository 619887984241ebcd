"""`python -m protoqueue_devcluster.controllers --kubeconfig FILE`: run the controllers until SIGTERM."""

import argparse
import sys
from pathlib import Path

from protoqueue_devcluster.controllers.loops import run_controllers
from protoqueue_devcluster.daemon import run_daemon


def main() -> int:
    parser = argparse.ArgumentParser(prog="protoqueue_devcluster.controllers", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    options = parser.parse_args()
    return run_daemon(run_controllers(options.kubeconfig))


if __name__ == "__main__":
    sys.exit(main())
