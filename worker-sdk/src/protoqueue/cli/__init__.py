"""The command `protoqueue`."""

import sys


def main() -> None:
    """Loads the application, which takes a moment: Ctrl-C ends that too without a traceback."""
    try:
        from protoqueue.cli.app import run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


__all__ = ["main"]
