"""What a request is about, read from its path."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Route:
    """A resource request: `name` and `subresource` are empty where the path has none."""

    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    tail: str = ""


def parse_route(path: str) -> Route | None:
    """The route of `/api/v1/…` or `/apis/<group>/<version>/…`; None for any other path."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and not (group == "" and rest[2] in {"status", "finalize"}):
        namespace, rest = rest[1], rest[2:]
    padded = [*rest, "", "", ""]
    return Route(group, version, padded[0], namespace, padded[1], padded[2], "/".join(rest[3:]))


def verb(method: str, route: Route, query: Mapping[str, str]) -> str:
    """The API verb, as RBAC names it; empty for a method the API has none for."""
    if method == "GET":
        watching = query.get("watch", "") in {"1", "true", "True"}
        return "watch" if watching else "get" if route.name else "list"
    if method == "DELETE":
        return "delete" if route.name else "deletecollection"
    return {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(method, "")
