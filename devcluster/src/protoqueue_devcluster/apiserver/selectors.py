"""Label and field selectors: parsed once, then asked about each object."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .statuses import bad_request

Object = dict[str, Any]
TERM = re.compile(
    r"\s*(?:(?P<absent>!)\s*(?P<absent_key>[^\s=!<>,()]+)"
    r"|(?P<key>[^\s=!<>,()]+)\s*(?:(?P<op>==|=|!=|>|<)\s*(?P<value>[^\s,()]*)"
    r"|(?P<set_op>in|notin)\s*\((?P<values>[^)]*)\))?)\s*(?:,|$)"
)

# Beyond metadata.name and metadata.namespace, which every resource selects by. Value: what an absent field counts as.
FIELDS: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("", "pods"): {
        "spec.nodeName": "", "spec.restartPolicy": "", "spec.schedulerName": "", "spec.serviceAccountName": "",
        "spec.hostNetwork": "false", "status.phase": "", "status.podIP": "", "status.nominatedNodeName": "",
    },
    ("", "events"): {
        "involvedObject.kind": "", "involvedObject.namespace": "", "involvedObject.name": "", "involvedObject.uid": "",
        "involvedObject.apiVersion": "", "involvedObject.resourceVersion": "", "involvedObject.fieldPath": "",
        "reason": "", "reportingComponent": "", "source": "", "type": "",
    },
    ("events.k8s.io", "events"): {
        "regarding.kind": "", "regarding.namespace": "", "regarding.name": "", "regarding.uid": "", "reason": "",
        "regarding.apiVersion": "", "regarding.resourceVersion": "", "regarding.fieldPath": "",
        "reportingController": "", "type": "",
    },
    ("", "nodes"): {"spec.unschedulable": "false"},
    ("", "namespaces"): {"status.phase": ""},
    ("", "secrets"): {"type": ""},
    ("", "services"): {"spec.clusterIP": "", "spec.type": ""},
    ("apps", "replicasets"): {"status.replicas": "0"},
    ("batch", "jobs"): {"status.successful": "0"},
}  # fmt: skip


@dataclass(frozen=True)
class Selector:
    """What a list or watch is restricted to."""

    labels: tuple[Callable[[Mapping[str, str]], bool], ...] = ()
    fields: tuple[tuple[str, bool, str, str], ...] = ()

    @property
    def everything(self) -> bool:
        return not self.labels and not self.fields

    def matches(self, obj: Object) -> bool:
        if self.labels:
            labels = obj["metadata"].get("labels") or {}
            if not all(test(labels) for test in self.labels):
                return False
        return all((field_value(obj, path, absent) == value) is equal for path, equal, value, absent in self.fields)


def field_value(obj: Object, path: str, absent: str) -> str:
    if path == "source":  # an Event's source is its component
        path = "source.component"
    value: Any = obj
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        return absent
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_selector(labels: str, fields: str, resource: tuple[str, str], custom: tuple[str, ...] = ()) -> Selector:
    """Raises ApiError 400 for what does not parse or a field the resource does not select by."""
    return Selector(parse_labels(labels), _parse_fields(fields, resource, custom))


def parse_labels(text: str) -> tuple[Callable[[Mapping[str, str]], bool], ...]:
    tests, position = [], 0
    while position < len(text.rstrip()):
        match = TERM.match(text, position)
        if match is None or match.end() == position:
            raise bad_request(f"unable to parse requirement: found '{text[position:].strip()}', expected: identifier")
        tests.append(_label_test(match))
        position = match.end()
    return tuple(tests)


def _label_test(match: re.Match[str]) -> Callable[[Mapping[str, str]], bool]:
    if match["absent"]:
        absent_key = match["absent_key"]
        return lambda labels: absent_key not in labels
    key, value = match["key"], match["value"]
    if match["set_op"]:
        values = {each.strip() for each in match["values"].split(",")}
        if match["set_op"] == "in":
            return lambda labels: key in labels and labels[key] in values
        return lambda labels: labels.get(key) not in values
    match match["op"]:
        case None:
            return lambda labels: key in labels
        case "!=":
            return lambda labels: labels.get(key) != value
        case ">" | "<" as op:
            return lambda labels: _beyond(labels.get(key), op, value)
        case _:
            return lambda labels: labels.get(key) == value


def _beyond(actual: str | None, op: str, bound: str) -> bool:
    try:
        left, right = int(actual or ""), int(bound)
    except ValueError:
        return False
    return left > right if op == ">" else left < right


def _parse_fields(
    text: str, resource: tuple[str, str], custom: tuple[str, ...]
) -> tuple[tuple[str, bool, str, str], ...]:
    known = {"metadata.name": "", "metadata.namespace": "", **FIELDS.get(resource, {}), **dict.fromkeys(custom, "")}
    terms = []
    for term in filter(None, (each.strip() for each in text.split(","))):
        match = re.fullmatch(r"([^=!]+)(==|!=|=)(.*)", term)
        if match is None:
            raise bad_request(f"invalid field selector: '{term}'; can't understand it")
        path, op, value = match.groups()
        if path not in known:
            raise bad_request(f"field label not supported: {path}")
        terms.append((path, op != "!=", value, known[path]))
    return tuple(terms)


def matches_label_selector(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a `metav1.LabelSelector` selects these labels."""
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for term in selector.get("matchExpressions") or []:
        key, values = term.get("key"), term.get("values") or []
        held = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }.get(term.get("operator"), False)
        if not held:
            return False
    return True


def label_selector_text(selector: Object) -> str:
    """A `metav1.LabelSelector` in the form of the query parameter: `a=b,c in (d,e)`."""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for term in selector.get("matchExpressions") or []:
        values = ",".join(sorted(term.get("values") or []))
        operator = term.get("operator")
        if operator in {"In", "NotIn"}:
            parts.append(f"{term['key']} {operator.lower()} ({values})")
        else:
            parts.append(term["key"] if operator == "Exists" else f"!{term['key']}")
    return ",".join(parts)
