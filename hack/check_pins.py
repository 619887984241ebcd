"""Refuses a release whose images could change under their names: every image it builds on or names needs a digest.

    python3 hack/check_pins.py

Tags are moved by whoever can push to a registry, and several of these images run where packages may be published.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def unpinned(root: Path) -> Iterator[str]:
    """What has no digest, and where it is to be written."""
    dockerfile = (root / "Dockerfile").read_text()
    for name, image in re.findall(r"^ARG (BASE\w*)=(\S+)$", dockerfile, re.MULTILINE):
        if not DIGEST.search(image):
            yield f"Dockerfile: ARG {name}={image} has no digest: write {image}@sha256:…"
    release = (root / ".github" / "workflows" / "release.yml").read_text()
    for name, image in re.findall(r"^  (\w+_IMAGE): (\S+)$", release, re.MULTILINE):
        if not DIGEST.search(image):
            yield f".github/workflows/release.yml: {name}: {image} has no digest: write {image}@sha256:…"
    values = (root / "charts" / "protoqueue" / "values.yaml").read_text()
    nats = values.partition("  bundled:")[2].partition("digest:")[2].partition("\n")[0]
    if not DIGEST.search(nats):
        yield 'charts/protoqueue/values.yaml: nats.bundled.image.digest is empty: write "sha256:…" of the tag above it'


def main() -> int:
    missing = list(unpinned(ROOT))
    for each in missing:
        print(each, file=sys.stderr)
    if missing:
        print("docker buildx imagetools inspect <image> shows a digest; Renovate proposes them too", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
