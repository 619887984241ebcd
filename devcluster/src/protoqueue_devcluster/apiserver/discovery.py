"""Telling clients what is served: the plain documents and the aggregated one."""

from typing import Any

from .kinds import SUBRESOURCE_VERBS, Kind, Kinds

Object = dict[str, Any]
Subresource = tuple[str, str, str, str, tuple[str, ...]]
VERSION = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2+protoqueue",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def core_versions() -> Object:
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def _group(name: str, versions: list[str]) -> Object:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def groups(kinds: Kinds) -> Object:
    named = {name: versions for name, versions in kinds.groups().items() if name}
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(*each) for each in named.items()]}


def group(kinds: Kinds, name: str) -> Object | None:
    versions = kinds.groups().get(name) if name else None
    return None if versions is None else {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def resources(kinds: Kinds, group_name: str, version: str) -> Object | None:
    """The plain resource list of one group version."""
    found = kinds.of(group_name, version)
    if not found:
        return None
    listed: list[Object] = []
    for kind in found:
        listed.append(_resource(kind))
        listed += [_subresource(kind, *each) for each in subresources(kind)]
    group_version = f"{group_name}/{version}" if group_name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}


def _resource(kind: Kind) -> Object:
    entry: Object = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    return entry


def subresources(kind: Kind) -> list[Subresource]:
    """Name, group, version, kind and verbs of every subresource; group and version empty where they are the kind's."""
    found: list[Subresource] = [("status", "", "", kind.kind, SUBRESOURCE_VERBS)] if kind.status else []
    if kind.scale is not None:
        found.append(("scale", "autoscaling", "v1", "Scale", SUBRESOURCE_VERBS))
    for name, other, verbs in kind.other_subresources:
        group_version = ("policy", "v1") if other == "Eviction" else ("", "")
        found.append((name, *group_version, other, verbs))
    return found if kind.custom else sorted(found)


def _subresource(kind: Kind, name: str, group_name: str, version: str, other: str, verbs: tuple[str, ...]) -> Object:
    entry: Object = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
    if group_name:
        entry |= {"group": group_name, "version": version}
    return {**entry, "kind": other, "verbs": list(verbs)}


def aggregated(kinds: Kinds, core: bool) -> Object:
    """All groups with their resources in one document, of `/api` (core) or of `/apis`."""
    items = []
    for name, versions in kinds.groups().items():
        if core != (name == ""):
            continue
        listed = [
            {
                "version": version,
                "resources": [_aggregated_resource(kind) for kind in kinds.of(name, version)],
                "freshness": "Current",
            }
            for version in versions
        ]
        items.append({"metadata": {"name": name} if name else {}, "versions": listed})
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


def _aggregated_resource(kind: Kind) -> Object:
    # Built-in kinds leave group and version to their place in the document, custom ones state them.
    place = {"group": kind.group, "version": kind.version} if kind.custom else {"group": "", "version": ""}
    entry: Object = {
        "resource": kind.plural,
        "responseKind": {**place, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    parts = [
        {
            "subresource": name,
            "responseKind": {"group": other, "version": version, "kind": shown} if other else {**place, "kind": shown},
            "verbs": list(verbs),
        }
        for name, other, version, shown, verbs in subresources(kind)
    ]
    return {**entry, "subresources": parts} if parts else entry
