"""Cursors: where a page begins, as an opaque text. Pure."""

import base64
import binascii
import json

from protoqueue_gateway.api.problems import Problem


def write_cursor(kind: str, place: str | int) -> str:
    return base64.urlsafe_b64encode(json.dumps([kind, place]).encode()).decode().rstrip("=")


def read_cursor(kind: str, cursor: str | None) -> str | int | None:
    """None without a cursor; raises Problem for one that is not of this kind."""
    if cursor is None:
        return None
    try:
        match json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))):
            case [str(stated), str() | int() as place] if stated == kind:
                return place
    except (binascii.Error, ValueError, RecursionError):
        pass
    raise Problem(
        "BadRequest", "this cursor is not of an earlier page", parameters=[("cursor", "pass what the page before gave")]
    )
