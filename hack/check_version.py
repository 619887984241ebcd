"""Print the version that every distribution, the chart and the Dockerfile carry, if it is the one asked for.

Usage: python hack/check_version.py 0.1.0
"""

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]


def versions() -> Iterator[tuple[str, str]]:
    """Where a version is written down, and which."""
    for file in (ROOT / "pyproject.toml", *sorted(ROOT.glob("*/pyproject.toml"))):
        yield str(file.relative_to(ROOT)), tomllib.loads(file.read_text())["project"]["version"]
    chart = (ROOT / "charts/protoqueue/Chart.yaml").read_text()
    yield from (("Chart.yaml", found) for found in re.findall(r"^(?:v|appV)ersion: (\S+)$", chart, re.MULTILINE))
    dockerfile = (ROOT / "Dockerfile").read_text()
    yield from (("Dockerfile", found) for found in re.findall(r"^ARG VERSION=(\S+)$", dockerfile, re.MULTILINE))


if __name__ == "__main__":
    wanted = sys.argv[1]
    if others := [f"{where} says {found}" for where, found in versions() if found != wanted]:
        sys.exit(f"the release is to be {wanted}, but {', '.join(others)}")
    print(wanted)
