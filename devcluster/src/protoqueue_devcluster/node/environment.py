"""A container's command line and environment."""

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protoqueue_devcluster.node.fields import field_value, resource_value
from protoqueue_devcluster.node.podspec import Container, PodSpec
from protoqueue_devcluster.node.sources import ConfigurationMissing, Sources
from protoqueue_devcluster.node.volumes import MountedPaths

POD_ROOT = "PROTOQUEUE_POD_ROOT"

_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")
_INHERITED = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV", "SSL_CERT_FILE")


@dataclass(frozen=True)
class Invocation:
    """What is executed; `working_dir` None means the node's."""

    arguments: tuple[str, ...]
    env: Mapping[str, str]
    working_dir: str | None


async def invocation(pod: PodSpec, container: Container, sources: Sources, paths: MountedPaths) -> Invocation:
    """Resolve references and mount paths; raises ConfigurationMissing while something referred to is missing."""
    declared = await declared_environment(pod, container, sources)
    env = {name: paths.rewrite(value) for name, value in declared.items()}
    arguments = tuple(paths.rewrite(expand(text, declared)) for text in (*container.command, *container.arguments))
    working_dir = paths.rewrite(container.working_dir) if container.working_dir else None
    return Invocation(arguments, {**machine_environment(os.environ), **_identity(pod, paths), **env}, working_dir)


def machine_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What stands in for the image's environment: little of the node's own, this interpreter first on PATH."""
    inherited = {name: environ[name] for name in _INHERITED if name in environ}
    path = os.pathsep.join([os.path.dirname(sys.executable), environ.get("PATH", os.defpath)])
    # Without it Python holds back what it prints until a block is full, and `kubectl logs -f` shows nothing.
    return {**inherited, "PATH": path, "PYTHONUNBUFFERED": "1"}


def _identity(pod: PodSpec, paths: MountedPaths) -> dict[str, str]:
    return {"HOSTNAME": pod.name, POD_ROOT: str(paths.root)}


async def declared_environment(pod: PodSpec, container: Container, sources: Sources) -> dict[str, str]:
    """`envFrom`, then `env` over it, each value expanded with the variables before it."""
    env: dict[str, str] = {}
    for entry in container.env_from:
        content = await _content(pod, entry, sources)
        env |= {f"{entry.get('prefix', '')}{key}": value.decode() for key, value in content.items()}
    for variable in container.env:
        source = variable.get("valueFrom")
        if not source:
            env[variable["name"]] = expand(variable.get("value", ""), env)
        elif (value := await _value_from(pod, container, source, sources)) is not None:
            env[variable["name"]] = value
    return env


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by the variable's value and `$$` by `$`; what names no variable stays as it is."""

    def replaced(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else env.get(match[1], match[0])

    return _REFERENCE.sub(replaced, text)


async def _content(pod: PodSpec, entry: Mapping[str, Any], sources: Sources) -> Mapping[str, bytes]:
    """All keys of an envFrom entry."""
    if reference := entry.get("secretRef"):
        content, kind = await sources.secret(pod.namespace, reference["name"]), "secret"
    else:
        reference = entry["configMapRef"]
        content, kind = await sources.config_map(pod.namespace, reference["name"]), "configmap"
    if content is None and not reference.get("optional"):
        raise ConfigurationMissing(f'{kind} "{reference["name"]}" not found')
    return content or {}


async def _value_from(pod: PodSpec, container: Container, source: Mapping[str, Any], sources: Sources) -> str | None:
    """One variable's value; None if it is optional and missing."""
    if reference := source.get("fieldRef"):
        return field_value(pod, reference["fieldPath"])
    if reference := source.get("resourceFieldRef"):
        return resource_value(pod, container, reference)
    if reference := source.get("secretKeyRef"):
        content, kind = await sources.secret(pod.namespace, reference["name"]), "secret"
    elif reference := source.get("configMapKeyRef"):
        content, kind = await sources.config_map(pod.namespace, reference["name"]), "configmap"
    else:
        raise ConfigurationMissing(f"valueFrom {', '.join(source)} is not supported")
    if content is not None and reference["key"] in content:
        return content[reference["key"]].decode()
    if reference.get("optional"):
        return None
    if content is None:
        raise ConfigurationMissing(f'{kind} "{reference["name"]}" not found')
    raise ConfigurationMissing(f"couldn't find key {reference['key']} in {kind} {pod.namespace}/{reference['name']}")
