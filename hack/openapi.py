"""Write the gateway's OpenAPI document, or with `--check` say whether it is fresh."""

import json
import sys
from pathlib import Path

from protoqueue_gateway.api.openapi import build_openapi
from protoqueue_gateway.app import OPERATIONS

DOCUMENT = Path(__file__).parent.parent / "docs" / "reference" / "openapi.json"


def openapi_text() -> str:
    return json.dumps(build_openapi(OPERATIONS), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    if "--check" not in sys.argv:
        DOCUMENT.write_text(openapi_text())
    elif DOCUMENT.read_text() != openapi_text():
        sys.exit("docs/reference/openapi.json is stale: run make openapi")
