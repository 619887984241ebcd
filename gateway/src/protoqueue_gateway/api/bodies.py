"""Reading what a request says: its body and its query, each as a model, with the place of whatever is wrong."""

import difflib
import typing
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import from_json
from starlette.requests import Request

from protoqueue.protocol.durations import PATTERN, parse_duration, to_timedelta
from protoqueue_gateway.api.operation import Call
from protoqueue_gateway.api.problems import Problem
from protoqueue_gateway.service.errors import Fault

_Model = TypeVar("_Model", bound="Input")
_MOST_ERRORS = 20
_MOST_CHARACTERS = 32
"""Of a duration, as in the Queue resource."""


class Input(BaseModel):
    """What comes in: camelCase, or the same in snake_case; unknown fields are refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid", frozen=True,
        str_max_length=16 * 1024 * 1024,
    )  # fmt: skip


def _read_duration(value: Any) -> timedelta:
    is_text = isinstance(value, str) and len(value) <= _MOST_CHARACTERS
    if isinstance(value, bool) or not (is_text or isinstance(value, int | float)):
        raise ValueError("is a number of seconds, or text such as 30s, 5m or 1h30m")
    try:
        if isinstance(value, str):
            return to_timedelta(float(value)) if value.replace(".", "", 1).isdigit() else parse_duration(value)
        return to_timedelta(value)
    except ValueError:
        raise ValueError("is a number of seconds from 0 on, or text such as 30s, 5m or 1h30m") from None


Duration = Annotated[
    timedelta,
    BeforeValidator(_read_duration),
    WithJsonSchema({
        "anyOf": [
            {"type": "number", "minimum": 0, "maximum": 3_155_760_000},
            {"type": "string", "pattern": PATTERN, "maxLength": 32},
        ],
        "description": "Seconds as a number, or text such as 30s, 5m or 1h30m.",
    }),
]  # fmt: skip


async def read_bytes(request: Request, limit: int) -> bytes:
    """The whole body, for which the connection waits so long only; raises Problem where it is too large."""
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > limit:
        raise _too_large(limit)
    parts: list[bytes] = []
    size, is_whole = 0, False
    while not is_whole:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise Problem("BadRequest", "the connection ended before the body did")
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        is_whole = not message.get("more_body", False)
    return b"".join(parts)


def _too_large(limit: int) -> Problem:
    return Problem(
        "PayloadTooLarge",
        f"the body is larger than {limit} bytes: send less at a time, or keep large payloads elsewhere",
        headers={"Connection": "close"},
    )


async def read_body(call: Call, model: type[_Model], *, optional: bool = False) -> _Model:
    """The body as the model; with `optional` none is an empty one. Raises Problem."""
    raw = await read_bytes(call.request, call.services.settings.max_body_size)
    if not raw and optional:
        return parse(model, b"{}")
    _check_type(call.request.headers.get("content-type"))
    return parse(model, raw)


def _check_type(stated: str | None) -> None:
    kind = (stated or "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise Problem("UnsupportedMediaType", f"write Content-Type: application/json, not {kind or 'nothing'}")


def parse(model: type[_Model], raw: bytes) -> _Model:
    """Raises Problem."""
    if b"NaN" in raw or b"Infinity" in raw:  # pydantic takes them, JSON does not
        read_json(raw)
    try:
        return model.model_validate_json(raw, strict=True)
    except ValidationError as error:
        if any(each["type"] == "json_invalid" for each in error.errors(include_url=False, include_context=False)):
            read_json(raw)
            raise Problem("BadRequest", "the body is not valid JSON") from None
        raise Problem("Invalid", _summary(error), _faults(error, model)) from None
    except RecursionError:
        raise Problem("BadRequest", "the body is nested too deeply") from None


def read_json(raw: bytes) -> Any:
    """Raises Problem."""
    try:
        return from_json(raw, allow_inf_nan=False)
    except (ValueError, RecursionError) as error:
        raise Problem("BadRequest", f"the body is not valid JSON: {str(error)[:200]}") from None


def read_query(request: Request, model: type[_Model]) -> _Model:
    """Raises Problem."""
    values: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in values:
            raise Problem("Invalid", f"{name} stands in the query twice", parameters=[(name, "write it once")])
        values[name] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        parameters = [(str(fault.path[0]) if fault.path else "", fault.detail) for fault in _faults(error, model)]
        raise Problem("Invalid", _summary(error, "the query"), parameters=parameters) from None


def _summary(error: ValidationError, what: str = "the body") -> str:
    count = error.error_count()
    return f"{what} has an error" if count == 1 else f"{what} has {count} errors"


def _faults(error: ValidationError, model: type[BaseModel]) -> Sequence[Fault]:
    found: list[Fault] = []
    for each in error.errors(include_url=False, include_input=False)[:_MOST_ERRORS]:
        path = tuple(part for part in each["loc"])
        detail = str(each["msg"]).removeprefix("Value error, ")
        if each["type"] == "extra_forbidden":
            detail = "unknown field"
            known = _known_names(model, path[:-1])
            if near := difflib.get_close_matches(str(path[-1]), known, 1):
                detail += f": did you mean {near[0]}?"
            elif known:
                detail += f": there are {', '.join(sorted(known))}"
        found.append(Fault(path, detail))
    return found


def _known_names(model: Any, path: Sequence[str | int]) -> list[str]:
    """The names that an object at `path` may have."""
    for part in path:
        if isinstance(part, str):
            field = next((f for n, f in _fields(model).items() if part in (n, f.alias)), None)
            model = field.annotation if field else None
    fields = _fields(model)
    return [field.alias or name for name, field in fields.items()]


def _fields(annotation: Any) -> Mapping[str, Any]:
    """The fields of the first model in an annotation such as `list[NewMessage]` or `Config | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation.model_fields
    for argument in typing.get_args(annotation):
        if fields := _fields(argument):
            return fields
    return {}
