"""The operator's command line: run it, or print the CustomResourceDefinitions it serves."""

import argparse
import sys
from pathlib import Path

import yaml

from protoqueue_operator.core.crds import crds


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="protoqueue-operator", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    crds_command = commands.add_parser("crds", help="write the CustomResourceDefinitions")
    crds_command.add_argument("directory", type=Path)
    options = parser.parse_args(arguments)
    write_crds(options.directory)
    return 0


def write_crds(directory: Path) -> None:
    """Write one file per definition, as `make crds` keeps them in the repository."""
    for plural, definition in crds().items():
        text = yaml.safe_dump(definition, sort_keys=False, allow_unicode=True, width=120)
        header = "# Generated from the pydantic models by `make crds`; a test fails when it is stale.\n"
        (directory / f"{plural}.yaml").write_text(header + text)


if __name__ == "__main__":
    sys.exit(main())
