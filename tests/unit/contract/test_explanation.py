"""What a field says of itself is true: `kubectl explain` is all that many will read."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from protoqueue.protocol.durations import PATTERN, format_duration, parse_duration
from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.crd import crds
from protoqueue_operator.api.v1alpha1.errors import InvalidSpec
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.api.v1alpha1.redrive import RedriveSpec
from protoqueue_operator.api.v1alpha1.schema_docs import explained
from protoqueue_operator.api.v1alpha1.validation import check_group, check_queue, check_redrive

NEEDED: dict[str, dict[str, Any]] = {
    "scaleUpLimit": {"workers": 1},
    "fallback": {"replicas": 1},
    "rateLimit": {"tasks": 1},
    "rate": {"tasks": 1},
    "schedules[]": {"name": "x"},
}


def durations(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, child in schema.get("properties", {}).items():
        if child.get("pattern") == PATTERN:
            yield (*path, name), child["description"]
        yield from durations(child, (*path, name))
        yield from durations(child.get("items", {}), (*path, f"{name}[]"))


ALL = [
    (plural, path, text)
    for plural, definition in crds().items()
    for path, text in durations(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"])
]


def check(plural: str, path: tuple[str, ...], value: str) -> None:
    """Raises InvalidSpec."""
    spec: dict[str, Any] = {}
    part = spec
    for name in path[:-1]:
        inner = dict(NEEDED.get(name, {}))
        part[name.removesuffix("[]")] = [inner] if name.endswith("[]") else inner
        part = inner
    part[path[-1]] = value
    if plural == "queues":
        check_queue(QueueSpec.model_validate(spec))
    elif plural == "redrives":
        check_redrive(RedriveSpec.model_validate({"queueRef": {"name": "x"}, **spec}))
    else:
        check_group(ConsumerGroupSpec.model_validate({"queueRef": {"name": "x"}, **spec}), QueueSpec())


@pytest.mark.parametrize(("plural", "path", "text"), ALL, ids=[".".join((plural, *path)) for plural, path, _ in ALL])
def test_the_least_duration_is_the_one_that_the_field_names(plural: str, path: tuple[str, ...], text: str) -> None:
    named = re.search(r"At least ([0-9]+m?s)\.", text)
    least = parse_duration(named[1]) if named else timedelta(0)
    check(plural, path, format_duration(least))
    if least:
        with pytest.raises(InvalidSpec, match=f"must be at least {format_duration(least)}"):
            check(plural, path, format_duration(least - timedelta(milliseconds=1)))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"minimum": 1, "maximum": 10, "default": 5}, "It is. From 1 to 10. Defaults to 5."),
        ({"minimum": 0, "default": 0}, "It is. At least 0. Defaults to 0."),
        ({"default": False}, "It is. Defaults to false."),
        ({"default": {"tasksPerWorker": 100}}, 'It is. Defaults to {"tasksPerWorker": 100}.'),
        ({"default": {}}, "It is."),
        ({"maxItems": 100, "default": []}, "It is. At most 100."),
        ({"pattern": PATTERN}, "It is. Written 500ms, 30s, 5m, 12h, 14d or as a sum such as 1h30m."),
    ],
)
def test_bounds_and_default_are_put_into_words(schema: dict[str, Any], words: str) -> None:
    assert explained({"description": "It is.", **schema})["description"] == words
    inside = {"properties": {"x": {"items": {"properties": {"y": {"description": "It is.", **schema}}}}}}
    assert explained(inside)["properties"]["x"]["items"]["properties"]["y"]["description"] == words
