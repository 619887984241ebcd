"""What `protoqueue up` and `down` print for programs."""

import json
import sys
from typing import Any

import yaml

from protoqueue_devcluster.cli import Format


def print_data(value: Any, output: Format) -> None:
    """As JSON or YAML, on stdout."""
    text = json.dumps(value, indent=2) if output is Format.JSON else yaml.safe_dump(value, sort_keys=False).rstrip()
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
