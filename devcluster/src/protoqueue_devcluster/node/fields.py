"""The downward API: what a pod may learn of itself."""

import os
import re
from collections.abc import Mapping
from typing import Any

from protoqueue_devcluster.node.podspec import Container, PodSpec
from protoqueue_devcluster.node.sources import ConfigurationMissing

POD_IP = "127.0.0.1"

_KEYED = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")
_SUFFIXES = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def field_value(pod: PodSpec, path: str) -> str:
    """The value of a fieldRef; raises ConfigurationMissing for a path that is not supported."""
    if keyed := _KEYED.fullmatch(path):
        return (pod.labels if keyed[1] == "labels" else pod.annotations).get(keyed[2], "")
    if path in ("metadata.labels", "metadata.annotations"):  # as files only
        entries = pod.labels if path.endswith("labels") else pod.annotations
        return "\n".join(f'{key}="{value}"' for key, value in sorted(entries.items()))
    values = {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": pod.uid,
        "spec.nodeName": pod.node,
        "spec.serviceAccountName": pod.service_account,
        "status.podIP": POD_IP,
        "status.podIPs": POD_IP,
        "status.hostIP": POD_IP,
    }
    if path not in values:
        raise ConfigurationMissing(f"fieldRef {path!r} is not supported")
    return values[path]


def resource_value(pod: PodSpec, container: Container, reference: Mapping[str, Any]) -> str:
    """The value of a resourceFieldRef in units of its divisor, rounded up; without a limit, what the machine has."""
    named = reference.get("containerName")
    target = next((c for c in (*pod.init_containers, *pod.containers) if c.name == named), container)
    section, _, resource = str(reference["resource"]).partition(".")
    if resource not in ("cpu", "memory"):
        raise ConfigurationMissing(f"resourceFieldRef {reference['resource']!r} is not supported")
    amount = (target.resources.get(section) or {}).get(resource) or (target.resources.get("limits") or {}).get(resource)
    machine = os.cpu_count() or 1 if resource == "cpu" else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    divisor = quantity(str(reference.get("divisor") or "1")) or 1
    return str(-int(-(quantity(str(amount)) if amount else machine) // divisor))


def quantity(text: str) -> float:
    """A Kubernetes quantity such as 250m, 1.5 or 64Mi as a number."""
    for suffix in sorted(_SUFFIXES, key=len, reverse=True):
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * _SUFFIXES[suffix]
    return float(text)
