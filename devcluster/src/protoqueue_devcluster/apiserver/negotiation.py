"""What a request's body is, and how its answer is to look."""

import json
from dataclasses import dataclass
from typing import Any

import yaml

from .protobuf import JSON_TYPES, parse_protobuf
from .statuses import ApiError, bad_request, unsupported_media_type

JSON = "application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf"
YAML_TYPES = frozenset({"application/yaml", "application/apply-patch+yaml"})
DEEPEST = 10_000
"""Levels of objects and lists that Go's JSON decoder takes."""


@dataclass(frozen=True)
class Accepted:
    """The answer's form: `Table`, `PartialObjectMetadata(List)`, `APIGroupDiscoveryList` or empty for the object."""

    form: str = ""
    yaml: bool = False


def parse_accept(header: str) -> Accepted:
    """The first form offered that this server has; plain JSON otherwise."""
    if not header or "as=" not in header:
        return Accepted(yaml=header.startswith("application/yaml"))
    for offer in header.split(","):
        media, *parameters = (part.strip() for part in offer.split(";"))
        named = dict(part.split("=", 1) for part in parameters if "=" in part)
        form = named.get("as", "")
        if media != JSON:
            continue
        if form in {"Table", "PartialObjectMetadata", "PartialObjectMetadataList"}:
            return Accepted(form)
        if form == "APIGroupDiscoveryList" and named.get("v") == "v2":
            return Accepted(form)
        if not form:
            return Accepted()
    return Accepted()


def parse_body(raw: bytes, content_type: str, kind: str) -> Any:
    """JSON, YAML or protobuf as the content type says. Raises ApiError 400, and 415 for anything else."""
    media = content_type.partition(";")[0].strip().lower()
    if media in YAML_TYPES:
        try:
            return yaml.load(raw, Loader=yaml.CSafeLoader)
        except yaml.YAMLError as error:
            raise bad_request(f"error parsing YAML: {error}") from None
        except RecursionError:
            raise bad_request("error parsing YAML: exceeded max depth") from None
    if media == PROTOBUF:
        return parse_protobuf(raw)
    if media and media != JSON and not media.endswith("+json"):
        raise unsupported_media_type(JSON_TYPES)
    try:
        parsed = json.loads(raw)
    except ValueError as error:
        raise _not_json(raw, kind, error) from None
    except RecursionError:
        raise bad_request("json: exceeded max depth") from None
    if raw.count(b"{") + raw.count(b"[") > DEEPEST and _depth(parsed) > DEEPEST:
        raise bad_request("json: exceeded max depth")
    return parsed


def _depth(value: Any) -> int:
    """Levels of objects and lists, counted without recursion."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [child for each in level for child in (each.values() if isinstance(each, dict) else each)]
    return depth


def _not_json(raw: bytes, kind: str, error: ValueError) -> ApiError:
    text = raw.decode(errors="replace")
    position = getattr(error, "pos", 0)
    found = text[position : position + 1]
    where = "object key string" if text[:position].rstrip()[-1:] in {"{", ","} else "value"
    why = f"invalid character {found!r} looking for beginning of {where}" if found else "unexpected end of JSON input"
    text = f"couldn't get version/kind; json parse error: {why} ({text[:200]})"
    return bad_request(f"the object provided is unrecognized (must be of type {kind}): {text}")
