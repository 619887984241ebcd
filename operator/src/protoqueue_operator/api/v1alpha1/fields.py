"""The value types the resources are made of: each reads one text form and states its own JSON schema."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, StringConstraints, WithJsonSchema
from pydantic.alias_generators import to_camel

from protoqueue.protocol.durations import PATTERN as DURATION_PATTERN
from protoqueue.protocol.durations import format_duration, parse_duration

_NUMBER = "[0-9]+(?:[.][0-9]+)?"
_UNIT = "k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|[eE][0-9]{1,2}"
QUANTITY_PATTERN = f"^{_NUMBER}({_UNIT})?$"
_QUANTITY = re.compile(f"({_NUMBER})({_UNIT})?")
_FACTORS = {
    prefix + suffix: base**power
    for power, prefix in enumerate("kMGTPE", start=1)
    for prefix, suffix, base in ((prefix, "", 1000), ("K" if prefix == "k" else prefix, "i", 1024))
}


def parse_quantity(value: str | int) -> int:
    """Bytes of a Kubernetes quantity such as `10Gi` or `1e9`; raises ValueError that shows how one is written."""
    match = _QUANTITY.fullmatch(str(value))
    if not match:
        raise ValueError(
            f"{value!r} is not a size: write a number of bytes, or one with a unit such as 512Ki, 10Gi or 1G"
        )
    unit = match[2] or "e0"
    return int(Decimal(match[1]) * (_FACTORS.get(unit) or 10 ** int(unit[1:])))


def _duration(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


def _quantity(value: Any) -> Any:
    return parse_quantity(value) if isinstance(value, str) else value


Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "maxLength": 32}),
]

Quantity = Annotated[
    int,
    BeforeValidator(_quantity),
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "pattern": QUANTITY_PATTERN,
            "maxLength": 32,
        }
    ),
]


@dataclass(frozen=True)
class AtLeast:
    """The least value of a duration, stated beside the field; the schema cannot refuse less."""

    duration: timedelta


Moment = Annotated[Duration, AtLeast(timedelta(milliseconds=100))]
"""A duration of at least 100 ms."""

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"

LabelName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=f"^{_LABEL}$")]
"""A DNS label (RFC 1123): it is one token of a NATS subject and one segment of a path, so nothing else may pass."""

ObjectName = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=rf"^{_LABEL}(\.{_LABEL})*$")]
"""A DNS subdomain (RFC 1123), as most objects of Kubernetes are named."""


class Model(BaseModel):
    """Base of every part of a resource: camelCase outside, frozen.

    The API server refuses what its definition does not know. What comes from there and is unknown here is a newer
    definition's: it is left out, and `unknown_fields` tells of it.
    """

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="ignore")


def durations(model: Model, path: str) -> Iterator[tuple[str, timedelta, timedelta]]:
    """Path, value and least value of each duration that the model has; items of lists are left out."""
    for name, field in type(model).model_fields.items():
        value, where = getattr(model, name), f"{path}.{to_camel(name)}"
        if isinstance(value, timedelta):
            yield where, value, _least(field.annotation, field.metadata)
        elif isinstance(value, Model):
            yield from durations(value, where)


def _least(annotation: Any, metadata: Iterable[Any]) -> timedelta:
    stated = [*metadata, *(each for part in get_args(annotation) for each in getattr(part, "__metadata__", ()))]
    return next((each.duration for each in stated if isinstance(each, AtLeast)), timedelta(0))


def unknown_fields(model: type[Model], value: Any, path: str) -> Iterator[str]:
    """Paths of what `value` has and the model does not know."""
    if not isinstance(value, Mapping):
        return
    known = {to_camel(name): field.annotation for name, field in model.model_fields.items()}
    for name, child in sorted(value.items()):
        if name not in known:
            yield f"{path}.{name}"
        elif (inner := _model_in(known[name])) is None:
            continue
        elif isinstance(child, list):
            for index, item in enumerate(child):
                yield from unknown_fields(inner, item, f"{path}.{name}[{index}]")
        else:
            yield from unknown_fields(inner, child, f"{path}.{name}")


def _model_in(annotation: Any) -> type[Model] | None:
    """The model that a field holds: itself, or none, or a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def is_deeper_than(levels: int, value: Any) -> bool:
    """Whether lists and objects are nested in more levels. Does not recurse: others may be unable to read the value."""
    level = [value]
    for _ in range(levels + 1):
        level = [each for each in level if isinstance(each, list | Mapping)]
        if not level:
            return False
        level = [child for each in level for child in (each if isinstance(each, list) else each.values())]
    return True


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """Schema extra with CEL rules, each given as (expression, what the user reads when it is broken)."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}
