"""Pod templates of groups: their schema, which is Kubernetes' own, and how they are kept."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from protoqueue_operator.api.v1alpha1.fields import is_deeper_than

LARGEST_TEMPLATE = 1 << 18
"""Bytes as compact JSON. Objects may be six times as large; what fills pods with files belongs into a ConfigMap."""

_DEEPEST_TEMPLATE = 32
"""Kubernetes' own is 13 levels deep."""


@dataclass(frozen=True)
class PodTemplate:
    """As compact JSON: a tenth of what the same costs in dictionaries."""

    text: str

    def parsed(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.text)
        return parsed


def pod_template_schema() -> dict[str, Any]:
    """A new copy; `hack/pod_template.py` writes the file."""
    text = files(__package__).joinpath("pod_template.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _read(value: Any) -> Any:
    if isinstance(value, PodTemplate):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("must be an object")
    if is_deeper_than(_DEEPEST_TEMPLATE, value):
        raise ValueError(f"is nested in more than {_DEEPEST_TEMPLATE} levels")
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    size = len(text.encode(errors="replace"))
    if size > LARGEST_TEMPLATE:
        raise ValueError(
            f"is {size} bytes as JSON, and {LARGEST_TEMPLATE} are allowed: move large values into a ConfigMap or Secret"
        )
    return PodTemplate(text)


PodTemplateField = Annotated[PodTemplate, BeforeValidator(_read), WithJsonSchema({"type": "object"})]
