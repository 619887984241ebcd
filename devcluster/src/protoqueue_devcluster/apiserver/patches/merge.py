"""JSON merge patch (RFC 7386)."""

from typing import Any


def apply_merge(target: Any, patch: Any) -> Any:
    """`target` with `patch` merged in: nulls remove, maps merge, all else replaces. Changes neither."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = apply_merge(merged.get(name), value)
    return merged
