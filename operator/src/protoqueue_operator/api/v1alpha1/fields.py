"""The value types the resources are made of: each reads one text form and states its own JSON schema."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, StringConstraints, WithJsonSchema
from pydantic.alias_generators import to_camel

from protoqueue.durations import PATTERN as DURATION_PATTERN
from protoqueue.durations import format_duration, parse_duration

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
        raise ValueError(f"{value!r} is no size: write a number of bytes, or one with a unit such as 512Ki, 10Gi or 1G")
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

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"

LabelName = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=f"^{_LABEL}$")]
"""A DNS label (RFC 1123): it is one token of a NATS subject and one segment of a path, so nothing else may pass."""

ObjectName = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=rf"^{_LABEL}(\.{_LABEL})*$")]
"""A DNS subdomain (RFC 1123), as most objects of Kubernetes are named."""


class Model(BaseModel):
    """Base of every part of a resource: camelCase outside, frozen, nothing unknown is passed over in silence."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="forbid")


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """Schema extra with CEL rules, each given as (expression, what the user reads when it is broken)."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]}
