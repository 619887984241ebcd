"""Rules for the names of objects, labels and finalizers, in the words of the real validation."""

import re
import secrets
from typing import Any

from .statuses import Cause, invalid_value

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\Z")
SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
LABEL_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
MOST_OF_ANNOTATIONS = 256 * 1024
LABELS_ONLY = frozenset({("", "namespaces"), ("", "services")})
PATH_SEGMENTS = frozenset({"roles", "rolebindings", "clusterroles", "clusterrolebindings"})
ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def generated(prefix: str) -> str:
    """A name for `generateName`: the prefix, cut to fit, and five random characters that spell no words."""
    return prefix[:58] + "".join(secrets.choice(ALPHABET) for _ in range(5))


def name_causes(resource: tuple[str, str], name: str) -> list[Cause]:
    field = "metadata.name"
    if resource[1] in PATH_SEGMENTS:
        bad = next((each for each in ("/", "%") if each in name), None)
        return [invalid_value(field, name, f"may not contain '{bad}'")] if bad else []
    if resource in LABELS_ONLY:
        if len(name) > 63:
            return [invalid_value(field, name, "must be no more than 63 characters")]
        return [] if LABEL.match(name) else [invalid_value(field, name, LABEL_TEXT)]
    if len(name) > 253:
        return [invalid_value(field, name, "must be no more than 253 characters")]
    return [] if SUBDOMAIN.match(name) else [invalid_value(field, name, SUBDOMAIN_TEXT)]


def metadata_causes(metadata: dict[str, Any]) -> list[Cause]:
    """What is wrong with labels, annotations, finalizers and owner references."""
    causes: list[Cause] = []
    for key, value in (metadata.get("labels") or {}).items():
        causes += _key_causes("metadata.labels", key)
        text = str(value)
        if len(text) > 63:
            causes.append(invalid_value("metadata.labels", text, "must be no more than 63 bytes"))
        elif text and not QUALIFIED.match(text):
            causes.append(invalid_value("metadata.labels", text, LABEL_VALUE_TEXT))
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        causes += _key_causes("metadata.annotations", key.lower())
    if sum(len(key.encode()) + len(str(value).encode()) for key, value in annotations.items()) > MOST_OF_ANNOTATIONS:
        text = f"Too long: may not be more than {MOST_OF_ANNOTATIONS} bytes"
        causes.append(Cause("FieldValueTooLong", text, "metadata.annotations"))
    for index, owner in enumerate(metadata.get("ownerReferences") or []):
        for name in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(name):
                path = f"metadata.ownerReferences[{index}].{name}"
                causes.append(invalid_value(path, "", f"{name} must not be empty"))
    return causes


def _key_causes(field: str, key: str) -> list[Cause]:
    prefix, slash, name = key.rpartition("/")
    if slash and not SUBDOMAIN.match(prefix):
        return [invalid_value(field, key, f"prefix part {SUBDOMAIN_TEXT}")]
    if not QUALIFIED.match(name) or len(name) > 63:
        return [invalid_value(field, key, QUALIFIED_TEXT)]
    return []
