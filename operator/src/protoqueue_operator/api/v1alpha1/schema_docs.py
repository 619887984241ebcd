"""What `kubectl explain` shows of a field is its description: it is told there what else the schema says.

Bounds and defaults stand in the schema only, and are put into words here; forms are shown by example.
"""

import json
from typing import Any

from protoqueue.protocol.durations import PATTERN as DURATION_PATTERN
from protoqueue_operator.api.v1alpha1.fields import QUANTITY_PATTERN

_FORMS = {
    DURATION_PATTERN: "Written 500ms, 30s, 5m, 12h, 14d or as a sum such as 1h30m.",
    QUANTITY_PATTERN: "Written as a number of bytes, or with a unit: 512Ki, 10Gi, 1G.",
}


def explained(schema: dict[str, Any]) -> dict[str, Any]:
    """The same schema, each description followed by form, bounds and default."""
    told = dict(schema)
    if "description" in schema:
        told["description"] = " ".join(filter(None, (schema["description"], *_facts(schema))))
    if "properties" in schema:
        told["properties"] = {name: explained(child) for name, child in schema["properties"].items()}
    if "items" in schema:
        told["items"] = explained(schema["items"])
    return told


def _facts(schema: dict[str, Any]) -> tuple[str, ...]:
    return _FORMS.get(schema.get("pattern", ""), ""), _bounds(schema), _default(schema)


def _bounds(schema: dict[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if high is not None:
        return f"From {low} to {high}." if low is not None else f"At most {high}."
    if low is not None:
        return f"At least {low}."
    return f"At most {schema['maxItems']}." if "maxItems" in schema else ""


def _default(schema: dict[str, Any]) -> str:
    """An empty default says nothing that the fields below do not say better."""
    default = schema.get("default")
    if default in (None, "", [], {}):
        return ""
    return f"Defaults to {default if isinstance(default, str) else json.dumps(default)}."
