"""Volumes as directories below the pod's own, and the paths that lead to them."""

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protoqueue_devcluster.node.fields import field_value, resource_value
from protoqueue_devcluster.node.podspec import Container, PodSpec
from protoqueue_devcluster.node.sources import ConfigurationMissing, Sources


@dataclass(frozen=True)
class File:
    """A file of a volume; `mode` None means the volume's default."""

    path: str
    content: bytes
    mode: int | None = None


@dataclass(frozen=True)
class MountedPaths:
    """Where a container finds its mounts: `targets` maps each mountPath to a real directory or file."""

    root: Path
    targets: Mapping[str, str]

    def rewrite(self, text: str) -> str:
        """Put real paths in the place of mount paths, where these stand as whole path prefixes; longest match wins."""
        if not self.targets:
            return text
        ordered = sorted(self.targets, key=len, reverse=True)
        pattern = rf"(?<![\w./-])({'|'.join(map(re.escape, ordered))})(?![\w.-])"
        return re.sub(pattern, lambda match: self.targets[match[1]], text)


def mounted_paths(root: Path, pod: PodSpec, container: Container) -> MountedPaths:
    host_paths = {volume["name"]: volume["hostPath"]["path"] for volume in pod.volumes if volume.get("hostPath")}
    targets = {}
    for mount in container.mounts:
        base = host_paths.get(mount.volume) or str(root / "volumes" / mount.volume)
        targets[mount.path] = os.path.join(base, mount.sub_path) if mount.sub_path else base
    return MountedPaths(root, targets)


async def materialise(root: Path, pod: PodSpec, sources: Sources) -> None:
    """Make every volume's directory with its files; raises ConfigurationMissing while a source is missing.

    Done again it brings changed Secrets and ConfigMaps: each file is replaced whole, and only if its content differs.
    """
    for volume in pod.volumes:
        if volume.get("hostPath"):
            continue
        directory = root / "volumes" / volume["name"]
        directory.mkdir(parents=True, exist_ok=True)
        default_mode, files = await _files(pod, volume, sources)
        for file in files:
            _replace(directory / file.path, file.content, file.mode if file.mode is not None else default_mode)


def follows_sources(pod: PodSpec) -> bool:
    """Whether any volume may change while the pod runs."""
    return any(kind in volume for volume in pod.volumes for kind in ("secret", "configMap", "projected"))


def _replace(target: Path, content: bytes, mode: int) -> None:
    if target.exists() and target.read_bytes() == content:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.new")
    fresh.touch(mode=0o600)
    fresh.write_bytes(content)
    fresh.chmod(mode)
    fresh.replace(target)


def remove_volumes(root: Path) -> None:
    shutil.rmtree(root / "volumes", ignore_errors=True)


async def _files(pod: PodSpec, volume: Mapping[str, Any], sources: Sources) -> tuple[int, list[File]]:
    """The default mode and the files of one volume."""
    if "emptyDir" in volume:
        return 0o644, []
    if secret := volume.get("secret"):
        content = await sources.secret(pod.namespace, secret["secretName"])
        return secret.get("defaultMode", 0o644), _selected("secret", secret["secretName"], secret, content)
    if config_map := volume.get("configMap"):
        content = await sources.config_map(pod.namespace, config_map["name"])
        return config_map.get("defaultMode", 0o644), _selected("configmap", config_map["name"], config_map, content)
    if downward := volume.get("downwardAPI"):
        return downward.get("defaultMode", 0o644), _downward(pod, downward.get("items") or [])
    if projected := volume.get("projected"):
        files = [file for source in projected.get("sources") or [] for file in await _projected(pod, source, sources)]
        return projected.get("defaultMode", 0o644), files
    kinds = ", ".join(key for key in volume if key != "name")
    raise ConfigurationMissing(f"volume {volume['name']!r}: {kinds} is not supported by a process node")


async def _projected(pod: PodSpec, source: Mapping[str, Any], sources: Sources) -> list[File]:
    if secret := source.get("secret"):
        return _selected("secret", secret["name"], secret, await sources.secret(pod.namespace, secret["name"]))
    if config_map := source.get("configMap"):
        content = await sources.config_map(pod.namespace, config_map["name"])
        return _selected("configmap", config_map["name"], config_map, content)
    if downward := source.get("downwardAPI"):
        return _downward(pod, downward.get("items") or [])
    # Real API servers project a service account token into every pod. A process on this machine gets none: whoever
    # wants to talk to the API from here has the kubeconfig.
    return []


def _selected(kind: str, name: str, reference: Mapping[str, Any], content: Mapping[str, bytes] | None) -> list[File]:
    """The keys asked for, or all of them."""
    optional = bool(reference.get("optional"))
    if content is None:
        if optional:
            return []
        raise ConfigurationMissing(f'{kind} "{name}" not found')
    items = reference.get("items") or [{"key": key, "path": key} for key in content]
    missing = [item["key"] for item in items if item["key"] not in content]
    if missing and not optional:
        raise ConfigurationMissing(f'{kind} "{name}" has no key {missing[0]!r}')
    return [File(item["path"], content[item["key"]], item.get("mode")) for item in items if item["key"] in content]


def _downward(pod: PodSpec, items: Iterable[Mapping[str, Any]]) -> list[File]:
    files = []
    for item in items:
        if reference := item.get("fieldRef"):
            text = field_value(pod, reference["fieldPath"])
        else:
            text = resource_value(pod, pod.containers[0], item["resourceFieldRef"])
        files.append(File(item["path"], text.encode(), item.get("mode")))
    return files
