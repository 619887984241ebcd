"""The reference page of the HTTP API, from the gateway itself."""

import json
from typing import Any

from protoqueue_gateway.api.openapi import build_openapi
from protoqueue_gateway.api.problems import STATUS_OF
from protoqueue_gateway.app import OPERATIONS

_INTRO = """\
Every path stands below `/v1` for the gateway's default namespace, and below `/v1/namespaces/{namespace}` for any.
The same as a document for tools is [openapi.json](openapi.json), which every gateway serves at `/openapi.json`, and for
people at `/docs`. [Running a gateway](../operations/gateway.md) tells of keys, receipts and limits.
"""


def http_page() -> str:
    """The page, as Markdown."""
    document = build_openapi(OPERATIONS)
    lines = ["# HTTP API", "", _INTRO]
    for operation in OPERATIONS:
        described = document["paths"][f"/v1{operation.path}"][operation.method.lower()]
        lines += [f"## {operation.summary}", "", f"`{operation.method} /v1{operation.path}`", ""]
        if operation.action is not None:
            lines += [f"Needs a key that allows `{operation.action}` on the queue.", ""]
        lines += [_parameter(each) for each in described["parameters"] if each["in"] != "path"]
        if operation.body is not None:
            lines += _fields(document["components"]["schemas"][operation.body.__name__])
        if operation.example is not None:
            lines += ["", *_json(operation.example)]
        for status, answer in operation.answers.items():
            lines += ["", f"**{status}** {answer.description}", ""]
            lines += _json(answer.example) if answer.example is not None else []
        lines.append("")
    lines += ["## Problems", "", "| code | status | |", "| --- | --- | --- |"]
    lines += [f"| `{code}` | {status} | {title} |" for code, (status, title) in STATUS_OF.items()]
    return "\n".join(lines) + "\n"


def _parameter(each: dict[str, Any]) -> str:
    return f"- `{each['name']}` ({each['in']}): {each.get('description', '')}"


def _fields(schema: dict[str, Any]) -> list[str]:
    required = schema.get("required", [])
    return [
        f"- `{name}`{' (required)' if name in required else ''}: {field.get('description', '')}".rstrip(": ")
        for name, field in schema.get("properties", {}).items()
    ]


def _json(value: Any) -> list[str]:
    return ["```json", json.dumps(value, indent=2, ensure_ascii=False), "```"]
