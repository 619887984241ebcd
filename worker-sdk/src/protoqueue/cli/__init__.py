"""The command `protoqueue`."""

from protoqueue.cli.app import main

__all__ = ["main"]
