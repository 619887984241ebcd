"""Pages: templates, the headers that go with them, and the files of our own that they use."""

import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import Response

from protoqueue_gateway.dashboard import formats

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_LEAST_COMPRESSED = 1024
_LEVEL = 4


def _read_static() -> dict[str, bytes]:
    folder = files("protoqueue_gateway.dashboard") / "static"
    return {each.name: each.read_bytes() for each in folder.iterdir() if not each.name.startswith(".")}


_STATIC = _read_static()
_VERSION = hashlib.sha256(b"".join(_STATIC[name] for name in sorted(_STATIC))).hexdigest()[:12]
STATIC = f"/dashboard/static/{_VERSION}"

_templates = Environment(
    loader=PackageLoader("protoqueue_gateway.dashboard"), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip
_templates.globals["static"] = STATIC
_templates.filters |= {
    "age": formats.age, "count": formats.count, "rate": formats.rate, "moment": formats.moment, "epoch": formats.epoch,
}  # fmt: skip


def compile_templates() -> None:
    """Ahead of the first page, which would wait for it."""
    for name in _templates.list_templates():
        _templates.get_template(name)


def rendered(name: str, **values: Any) -> str:
    return _templates.get_template(name).render(**values)


def html_answer(request: Request, text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A page, compressed where the browser takes that."""
    body = text.encode()
    more = {**HEADERS, **(headers or {}), "Vary": "Accept-Encoding, Cookie"}
    if len(body) >= _LEAST_COMPRESSED and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, _LEVEL)
        more["Content-Encoding"] = "gzip"
    return Response(body, status, more, media_type="text/html")


async def static_file(request: Request) -> Response:
    name, version = request.path_params["name"], request.path_params["version"]
    if name not in _STATIC:
        return Response("there is no such file", 404, HEADERS, media_type="text/plain")
    lasting = "public, max-age=31536000, immutable" if version == _VERSION else "no-store"
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return Response(_STATIC[name], 200, {**HEADERS, "Cache-Control": lasting}, media_type=kind)
