"""Health, metrics and the document of the API: what needs no key."""

import html
import json
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from protoqueue_gateway.api.operation import Services, json_answer, raw_json

LONG_POLLS = Gauge("protoqueue_gateway_long_polls", "Requests that wait for messages.")


async def healthz(_request: Request) -> Response:
    """The process answers."""
    return json_answer({"status": "ok", "checks": {}})


async def readyz(request: Request) -> Response:
    """It can serve: NATS is connected, the keys were read, and it is not about to stop."""
    services: Services = request.app.state.services
    checks = {
        "nats": services.connection.connected,
        "keys": services.keys is None or services.keys.is_read,
        "running": not services.messages.is_stopping,
    }
    ready = all(checks.values())
    return json_answer({"status": "ok" if ready else "unready", "checks": checks}, 200 if ready else 503)


async def metrics(request: Request) -> Response:
    services: Services = request.app.state.services
    LONG_POLLS.set(services.messages.polls)
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def openapi(request: Request) -> Response:
    return raw_json(json.dumps(request.app.openapi()).encode())


async def docs(request: Request) -> Response:
    """The document for people, without anything from elsewhere."""
    document = request.app.openapi()
    return HTMLResponse(
        _PAGE.format(title=html.escape(document["info"]["title"]), body="".join(_sections(document))),
        headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
    )


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}
pre{{background:#f3f3f5;padding:.7rem;overflow:auto;font-size:.85rem}}code{{font-size:.95em}}
summary{{cursor:pointer;padding:.3rem 0}}b{{display:inline-block;min-width:4.5rem}}
@media(prefers-color-scheme:dark){{body{{background:#16161a;color:#e6e6ea}}pre{{background:#222228}}}}
</style><h1>{title}</h1><p>Every request under <code>/v1</code> carries <code>Authorization: Bearer pq_…</code>. For
tools: <a href="openapi.json">openapi.json</a>.</p>{body}</html>"""


def _sections(document: dict[str, Any]) -> Any:
    for path, methods in document["paths"].items():
        if path.startswith("/v1/namespaces"):
            continue
        for method, operation in methods.items():
            yield (
                f"<details><summary><b>{method.upper()}</b><code>{html.escape(path)}</code> "
                f"{html.escape(operation['summary'])}</summary>{''.join(_details(operation))}</details>"
            )


def _details(operation: dict[str, Any]) -> Any:
    parameters = operation.get("parameters", [])
    if parameters:
        rows = (
            f"<li><code>{html.escape(each['name'])}</code> ({each['in']}) {html.escape(each.get('description', ''))}"
            for each in parameters
        )
        yield f"<ul>{''.join(rows)}</ul>"
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    if "example" in content:
        yield f"<pre>{html.escape(json.dumps(content['example'], indent=2))}</pre>"
    for status, answer in operation["responses"].items():
        if "description" not in answer:  # a problem, which the document describes once for all
            codes = answer["$ref"].rpartition("/")[2].replace("Or", ", ")
            yield f"<p>{status}: {html.escape(codes)}</p>"
            continue
        yield f"<p>{status}: {html.escape(answer['description'])}</p>"
        example = answer.get("content", {}).get("application/json", {}).get("example")
        if example is not None:
            yield f"<pre>{html.escape(json.dumps(example, indent=2, ensure_ascii=False))}</pre>"
