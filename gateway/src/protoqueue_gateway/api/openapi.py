"""The OpenAPI document, from what the operations say of themselves. Pure."""

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from protoqueue_gateway.api import outputs
from protoqueue_gateway.api.inputs import LABEL
from protoqueue_gateway.api.operation import Operation
from protoqueue_gateway.api.problems import MEDIA_TYPE, RETRY_AFTER_S, STATUS_OF, TYPES

_REF = "#/components/schemas/{model}"
_EVERYWHERE = ("Unauthorized", "Unavailable", "TooManyRequests", "Internal")
_LABEL = {"type": "string", "pattern": LABEL, "maxLength": 63}
_PATHS = {
    "namespace": {"schema": _LABEL, "description": "Namespace of the queue."},
    "queue": {"schema": _LABEL, "description": "Name of the queue."},
    "receipt": {
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "maxLength": 4096},
        "description": "What came with the message.",
    },
    "id": {
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_@.:-]+$", "maxLength": 256},
        "description": "Id of the task.",
    },
    "name": {"schema": _LABEL, "description": "Name of the redrive."},
}  # fmt: skip
_REQUEST_ID = {"schema": {"type": "string"}, "description": "Of the request, as sent or as made here; also in the log."}
_RETRY_AFTER = {"schema": {"type": "integer"}, "description": "Seconds after which to try again."}

_REF_REQUEST_ID = {"$ref": "#/components/headers/RequestId"}

FORMS = ("/v1", "/v1/namespaces/{namespace}")
"""Each path is there for the default namespace, and for any."""


def build_openapi(operations: Iterable[Operation]) -> dict[str, Any]:
    operations = list(operations)
    paths: dict[str, Any] = {}
    for form in FORMS:
        for operation in operations:
            paths.setdefault(form + operation.path, {})[operation.method.lower()] = _operation(operation, form)
    for path, (summary, model) in _OPEN.items():
        paths[path] = {"get": _open(path, summary, model)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ProtoQueue gateway",
            "version": version("protoqueue-gateway"),
            "description": "JSON in camelCase; snake_case is accepted. Errors are problems (RFC 9457).",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "tags": [{"name": name} for name in dict.fromkeys([*(each.tag for each in operations), "gateway"])],
        "paths": paths,
        "components": {
            "schemas": _schemas(operations),
            "responses": _responses(operations),
            "headers": {"RequestId": _REQUEST_ID, "RetryAfter": _RETRY_AFTER},
            "securitySchemes": {
                "key": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "pq_<id>_<secret>",
                    "description": "`protoqueue keys create` makes one.",
                }
            },
        },
    }  # fmt: skip


_OPEN: Mapping[str, tuple[str, type[BaseModel] | None]] = {
    "/healthz": ("Whether the process answers", outputs.Health),
    "/readyz": ("Whether it can serve", outputs.Health),
    "/metrics": ("Prometheus metrics", None),
}


def _schemas(operations: Iterable[Operation]) -> dict[str, Any]:
    models: dict[type[BaseModel], None] = {outputs.ProblemBody: None, outputs.Health: None}
    inputs: dict[type[BaseModel], None] = {}
    for operation in operations:
        if operation.body is not None:
            inputs[operation.body] = None
        models.update((answer.model, None) for answer in operation.answers.values() if answer.model is not None)
    wanted = [(model, "validation") for model in inputs] + [(model, "serialization") for model in models]
    _, definitions = models_json_schema(wanted, ref_template=_REF)  # type: ignore[arg-type]  # the modes are literals
    schemas: dict[str, Any] = definitions["$defs"]
    for schema in schemas.values():
        _loosen(schema)
    schemas["NewMessage"]["oneOf"] = [
        {"required": ["payload"], "properties": {"payloadBase64": {"type": "null"}, "contentType": {"type": "null"}}},
        {
            "required": ["payloadBase64"],
            "properties": {"payloadBase64": {"type": "string"}},
            "not": {"required": ["payload"]},
        },
    ]
    schemas["NewMessage"]["not"] = {
        "required": ["delay", "at"],
        "properties": {"delay": {"not": {"type": "null"}}, "at": {"not": {"type": "null"}}},
    }
    schemas["QueueChange"]["oneOf"] = [
        {"required": [one], "properties": {one: {"type": "object"}, other: {"type": "null"}}}
        for one, other in (("config", "spec"), ("spec", "config"))
    ]
    schemas["NewMessage"]["properties"]["payloadBase64"]["anyOf"][0] |= {"format": "byte", "contentEncoding": "base64"}
    return schemas


def _loosen(schema: dict[str, Any]) -> None:
    """What an answer leaves out where it does not apply is not required."""
    required = [name for name in schema.get("required", []) if "default" not in schema["properties"][name]]
    if "required" in schema:
        schema["required"] = required


def _operation(operation: Operation, form: str) -> dict[str, Any]:
    path = form + operation.path
    answers = {
        str(status): _answer(each.description, each.model, each.example) for status, each in operation.answers.items()
    }
    if any(status == 201 for status in operation.answers) and operation.path == "/queues":
        answers["201"]["headers"]["Location"] = {"schema": {"type": "string"}, "description": "Path of the queue."}
        answers["201"]["links"] = _queue_links(form)
    document: dict[str, Any] = {
        "operationId": operation.name if form == "/v1" else f"{operation.name}_in_namespace",
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*_path_parameters(path), *_query_parameters(operation), *_header_parameters(operation)],
        "responses": answers | _problems(operation),
    }
    if operation.action is not None:
        document["description"] = f"Needs a key that allows `{operation.action}` on the queue."
    if operation.body is not None:
        content: dict[str, Any] = {"schema": {"$ref": _REF.format(model=operation.body.__name__)}}
        if operation.example is not None:
            content["example"] = operation.example
        document["requestBody"] = {
            "required": not operation.body_optional, "content": {"application/json": content},
        }  # fmt: skip
    return document


def _queue_links(form: str) -> dict[str, Any]:
    suffix = "" if form == "/v1" else "_in_namespace"
    where = {"queue": "$response.body#/name"} | ({} if form == "/v1" else {"namespace": "$response.body#/namespace"})
    return {
        name: {"operationId": f"{name}{suffix}", "parameters": where}
        for name in ("get_queue", "enqueue", "stats", "receive")
    }


def _answer(description: str, model: type[BaseModel] | None, example: Any) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": description, "headers": {"X-Request-Id": _REF_REQUEST_ID}}
    if model is not None:
        answer["content"] = {
            "application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}, "example": example}
        }
    return answer


def _problems(operation: Operation) -> dict[str, Any]:
    return {
        str(status): {"$ref": f"#/components/responses/{'Or'.join(codes)}"}
        for status, codes in sorted(_codes(operation).items())
    }


def _responses(operations: Iterable[Operation]) -> dict[str, Any]:
    """Each set of problems that some operation has for one status."""
    found = {tuple(codes): None for operation in operations for codes in _codes(operation).values()}
    return {"Or".join(codes): _problem(list(codes)) for codes in sorted(found)}


def _codes(operation: Operation) -> dict[int, list[str]]:
    """The codes of problems that the operation can answer with, by status."""
    codes = [*operation.problems, *_EVERYWHERE]
    if operation.action is not None:
        codes.append("Forbidden")
    if operation.body is not None:
        codes += ["BadRequest", "PayloadTooLarge", "UnsupportedMediaType", "RequestTimeout", "Invalid"]
    if operation.query is not None:
        codes += ["Invalid", "BadRequest"]
    if "{queue}" in operation.path:
        codes.append("QueueNotFound")
    by_status: dict[int, list[str]] = {}
    for code in sorted(set(codes)):
        by_status.setdefault(STATUS_OF[code][0], []).append(code)
    return by_status


def _problem(codes: list[str]) -> dict[str, Any]:
    status, title = STATUS_OF[codes[0]]
    headers: dict[str, Any] = {"X-Request-Id": _REF_REQUEST_ID}
    if any(code in RETRY_AFTER_S for code in codes):
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    if "Unauthorized" in codes:
        headers["WWW-Authenticate"] = {"schema": {"type": "string"}, "description": "Bearer"}
    example = {
        "type": f"{TYPES}{codes[0]}", "title": title, "status": status, "code": codes[0], "detail": "…",
        "instance": "/v1/queues/email",
    }  # fmt: skip
    content = {"schema": {"$ref": _REF.format(model="ProblemBody")}, "example": example}
    return {
        "description": "; ".join(f"{code}: {STATUS_OF[code][1]}" for code in codes),
        "headers": headers,
        "content": {MEDIA_TYPE: content},
    }


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [{"name": name, "in": "path", "required": True, **_PATHS[name]} for name in re.findall(r"\{(\w+)\}", path)]


def _query_parameters(operation: Operation) -> list[dict[str, Any]]:
    if operation.query is None:
        return []
    schema = operation.query.model_json_schema()
    parameters = []
    for name, each in schema["properties"].items():
        described = dict(each)
        told = described.pop("description", "")
        described.pop("title", None)
        alternatives = [kind for kind in described.get("anyOf", []) if kind.get("type") != "null"]
        if len(alternatives) == 1 and len(described.get("anyOf", [])) > 1:  # a query has no null
            described = {
                key: value for key, value in described.items() if key not in ("anyOf", "default")
            } | alternatives[0]
        if described.get("format") == "duration":
            described["default"] = 0
        parameters.append({"name": name, "in": "query", "required": False, "schema": described, "description": told})
    return parameters


def _header_parameters(operation: Operation) -> list[dict[str, Any]]:
    schema = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"}
    return [
        {"name": name, "in": "header", "required": False, "schema": schema, "description": told}
        for name, told in operation.headers.items()
    ]


def _open(path: str, summary: str, model: type[BaseModel] | None) -> dict[str, Any]:
    answer = _answer("It does.", model, {"status": "ok", "checks": {}})
    if model is None:
        answer["content"] = {"text/plain": {"schema": {"type": "string"}}}
    responses = {"200": answer}
    if path == "/readyz":
        responses["503"] = _answer(
            "Not now: `checks` says what is missing.", model, {"status": "unready", "checks": {"nats": False}}
        )
    return {"operationId": path[1:], "summary": summary, "tags": ["gateway"], "security": [], "responses": responses}
