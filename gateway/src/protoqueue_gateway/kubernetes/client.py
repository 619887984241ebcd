"""The Kubernetes API as the gateway uses it: plain objects, in dictionaries, over lightkube's async client."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx2
from lightkube import AsyncClient, KubeConfig
from lightkube.core.exceptions import ApiError, ConfigError
from lightkube.generic_resource import GenericNamespacedResource, create_namespaced_resource
from lightkube.types import PatchType

from protoqueue_gateway.kubernetes.errors import (
    FieldError,
    KubernetesError,
    KubernetesUnavailable,
    NotAllowed,
    ObjectExists,
    ObjectInvalid,
    ObjectNotFound,
    WriteConflict,
)

log = logging.getLogger(__name__)

Json: TypeAlias = dict[str, Any]
Resource: TypeAlias = type[GenericNamespacedResource]

FIELD_MANAGER = "protoqueue-gateway"
_TIMEOUT = httpx2.Timeout(10)
_PAGE = 500
_WATCH_S = 240
"""A watch may die without a word: for no longer than this is one believed."""

QUEUES: Resource = create_namespaced_resource("protoqueue.dev", "v1alpha1", "Queue", "queues")
GROUPS: Resource = create_namespaced_resource("protoqueue.dev", "v1alpha1", "ConsumerGroup", "consumergroups")
REDRIVES: Resource = create_namespaced_resource("protoqueue.dev", "v1alpha1", "Redrive", "redrives")
EVENTS: Resource = create_namespaced_resource("", "v1", "Event", "events")
SECRETS: Resource = create_namespaced_resource("", "v1", "Secret", "secrets")


@dataclass(frozen=True)
class Listing:
    """All objects there are."""

    bodies: Sequence[Json]


@dataclass(frozen=True)
class Change:
    """An object that is new, another than before, or gone."""

    body: Json
    is_gone: bool


class Kubernetes:
    """Raises the errors of `kubernetes.errors` and no others."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    @classmethod
    def connect(cls, namespace: str | None = None) -> "Kubernetes":
        """As the pod's ServiceAccount, else as KUBECONFIG says. Asks nothing yet; raises KubernetesError."""
        try:
            config = KubeConfig.from_env()
            return cls(AsyncClient(config, namespace=namespace, timeout=_TIMEOUT, field_manager=FIELD_MANAGER))
        except (ConfigError, OSError, ValueError, KeyError) as error:
            raise KubernetesError(f"there is no usable Kubernetes configuration: {error}") from error

    @property
    def namespace(self) -> str:
        """Where the gateway's own objects are."""
        return str(self._client.namespace)

    async def get(self, resource: Resource, name: str, namespace: str) -> Json:
        try:
            return dict(await self._client.get(resource, name, namespace=namespace))
        except Exception as error:
            raise _translated(error) from error

    async def objects(
        self, resource: Resource, namespace: str | None, labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> list[Json]:  # fmt: skip
        """Those of a namespace, or of all, that have the labels and the values of fields."""
        selector: Any = dict(labels) if labels else None
        values: Any = dict(fields) if fields else None
        where: Any = namespace or "*"
        try:
            found = self._client.list(resource, namespace=where, chunk_size=_PAGE, labels=selector, fields=values)
            return [dict(each) async for each in found]
        except Exception as error:
            raise _translated(error) from error

    async def follow(self, resource: Resource, namespace: str | None) -> AsyncIterator[Listing | Change]:
        """Those of a namespace, or of all, and then what becomes of them, until the watch ends after some minutes."""
        where: Any = namespace or "*"
        try:
            found = self._client.list(resource, namespace=where, chunk_size=_PAGE)
            yield Listing([dict(each) async for each in found])
            watched: Any = self._client.watch(
                resource, namespace=where, resource_version=found.resourceVersion, server_timeout=_WATCH_S
            )
            async with contextlib.aclosing(watched):
                until = time.monotonic() + _WATCH_S
                while (left_s := until - time.monotonic()) > 0:
                    try:
                        async with asyncio.timeout(left_s):
                            kind, body = await anext(watched)
                    except (TimeoutError, StopAsyncIteration):
                        return
                    yield Change(dict(body), is_gone=kind == "DELETED")
        except Exception as error:
            raise _translated(error) from error

    async def create(self, resource: Resource, body: Json, *, dry_run: bool = False) -> Json:
        """What is stored, or with `dry_run` would be: with defaults, without unknown fields."""
        wanted: GenericNamespacedResource = resource(**body)
        try:
            return dict(await self._client.create(wanted, dry_run=dry_run))
        except Exception as error:
            raise _translated(error) from error

    async def merge(self, resource: Resource, name: str, patch: Json, namespace: str, *, dry_run: bool = False) -> Json:
        """The object with a JSON merge patch."""
        try:
            return dict(
                await self._client.patch(
                    resource, name, patch, namespace=namespace, patch_type=PatchType.MERGE, dry_run=dry_run
                )
            )
        except Exception as error:
            raise _translated(error) from error

    async def delete(self, resource: Resource, name: str, namespace: str) -> None:
        try:
            await self._client.delete(resource, name, namespace=namespace)
        except Exception as error:
            raise _translated(error) from error

    async def close(self) -> None:
        await self._client.close()


def _translated(error: Exception) -> KubernetesError:
    """Our error for one of lightkube's; what is neither is a fault of the gateway, and raised as it is."""
    if isinstance(error, ApiError):
        return _refusal(error)
    if isinstance(error, httpx2.HTTPStatusError):
        return KubernetesUnavailable(f"the Kubernetes API answered {error.response.status_code}", 503)
    if isinstance(error, httpx2.HTTPError | OSError):
        return KubernetesUnavailable(f"the Kubernetes API does not answer: {error or type(error).__name__}", 503)
    raise error


def _refusal(error: ApiError) -> KubernetesError:
    status, code, message = error.status, error.status.code or 0, str(error.status.message or error)
    causes = _causes(status)
    if code == 404:
        return ObjectNotFound(message, code)
    if code == 409:
        kind = ObjectExists if status.reason == "AlreadyExists" else WriteConflict
        return kind(message, code)
    if code in (400, 422):
        return ObjectInvalid(message, code, causes)
    if code in (401, 403):
        return NotAllowed(message, code)
    if code == 429 or code >= 500:
        return KubernetesUnavailable(message, 503)
    return KubernetesError(message, code, causes)


def _causes(status: Any) -> Sequence[FieldError]:
    details = getattr(status, "details", None)
    return [
        FieldError(str(cause.field or ""), str(cause.message or ""))
        for cause in (getattr(details, "causes", None) or [])
    ]
