"""Payloads as people read and edit them. Pure."""

import json
from dataclasses import dataclass
from typing import Any

from protoqueue.protocol.payloads import JSON

_MOST_SHOWN = 64 * 1024
_MOST_EDITED = 256 * 1024
_MOST_BYTES = 1024


@dataclass(frozen=True)
class Shown:
    """`text` is what is displayed, `editable` what an editor begins with: None where it is not text, or too long."""

    kind: str
    text: str
    size: int
    is_cut: bool = False
    editable: str | None = None


def shown(data: bytes, content_type: str) -> Shown:
    """JSON on several lines, other text as it is, and the beginning of anything else in hexadecimal."""
    kind = content_type or "no content type"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = data[:_MOST_BYTES].hex(" ", 2)
        return Shown(f"{kind}, not text", text, len(data), len(data) > _MOST_BYTES)
    if is_json(content_type):
        text = _on_several_lines(text)
    cut = len(text) > _MOST_SHOWN
    return Shown(kind, text[:_MOST_SHOWN], len(data), cut, text if len(data) <= _MOST_EDITED else None)


def is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip() in ("", JSON)


def _on_several_lines(text: str) -> str:
    """Unchanged if formatting it could change its meaning, such as 1.10."""
    try:
        value: Any = json.loads(text)
        same = text in (json.dumps(value, separators=(",", ":")), json.dumps(value), _compact(value))
    except (ValueError, RecursionError):
        return text
    return json.dumps(value, indent=2, ensure_ascii=False) if same else text


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def edited(text: str, content_type: str) -> bytes:
    """The payload that was typed; raises ValueError that says why it cannot be one."""
    text = text.replace("\r\n", "\n")
    if is_json(content_type):
        try:
            json.loads(text)
        except RecursionError:
            raise ValueError("This is nested too deeply.") from None
        except ValueError as error:
            raise ValueError(f"This is not JSON: {error}") from None
    return text.encode()


def metadata_text(metadata: Any) -> str:
    return json.dumps(metadata, indent=2, ensure_ascii=False, default=str) if metadata else ""
