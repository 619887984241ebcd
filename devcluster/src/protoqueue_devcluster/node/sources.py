"""Secrets and ConfigMaps that pods refer to, read when a container starts."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from protoqueue_devcluster.kube.client import CONFIG_MAPS, SECRETS, ApiError, KubeClient


class ConfigurationMissing(Exception):
    """A container cannot start until something it refers to exists; becomes CreateContainerConfigError."""


class Sources(Protocol):
    """Where the content of Secrets and ConfigMaps comes from. Both return None for what does not exist."""

    async def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None: ...

    async def config_map(self, namespace: str, name: str) -> Mapping[str, bytes] | None: ...


@dataclass(frozen=True)
class ApiSources:
    """Read from the API server each time, so that a restarted container sees what is there now."""

    client: KubeClient

    async def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        try:
            obj = await self.client.get(SECRETS, name, namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        return _decoded(obj.get("data"))

    async def config_map(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        try:
            obj = await self.client.get(CONFIG_MAPS, name, namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        return {key: value.encode() for key, value in (obj.get("data") or {}).items()} | _decoded(obj.get("binaryData"))


def _decoded(data: Mapping[str, str] | None) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (data or {}).items()}
