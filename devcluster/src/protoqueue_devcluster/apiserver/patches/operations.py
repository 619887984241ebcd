"""JSON patch (RFC 6902)."""

from typing import Any

import jsonpatch

from ..statuses import bad_request, rejected_patch


def apply_operations(target: dict[str, Any], operations: Any) -> dict[str, Any]:
    """Raises ApiError 400 for what is no patch, 422 where it does not fit or a `test` fails."""
    try:
        patched = jsonpatch.JsonPatch(operations).apply(target)
    except (jsonpatch.InvalidJsonPatch, TypeError, AttributeError) as error:
        raise bad_request(f"error decoding patch: {error}") from None
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
        raise rejected_patch() from None
    if not isinstance(patched, dict):
        raise rejected_patch()
    return patched
