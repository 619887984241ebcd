"""Requests to a Kubernetes API server: dictionaries in, dictionaries out, every refusal an ApiError."""

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from protoqueue_devcluster.kube.access import read_access

Object = dict[str, Any]

_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"


class ApiError(Exception):
    """The API server refused: `code` is the HTTP status, `reason` the machine-readable word of the Status object."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code, self.reason, self.message = code, reason, message


@dataclass(frozen=True)
class Kind:
    """One resource type; `group` is empty for core."""

    group: str
    version: str
    plural: str
    name: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        middle = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        tail = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{root}{middle}/{self.plural}{tail}"


PODS = Kind("", "v1", "pods", "Pod")
NODES = Kind("", "v1", "nodes", "Node", namespaced=False)
NAMESPACES = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
SECRETS = Kind("", "v1", "secrets", "Secret")
CONFIG_MAPS = Kind("", "v1", "configmaps", "ConfigMap")
EVENTS = Kind("", "v1", "events", "Event")
LEASES = Kind("coordination.k8s.io", "v1", "leases", "Lease")
DEPLOYMENTS = Kind("apps", "v1", "deployments", "Deployment")
REPLICA_SETS = Kind("apps", "v1", "replicasets", "ReplicaSet")
STATEFUL_SETS = Kind("apps", "v1", "statefulsets", "StatefulSet")
QUEUES = Kind("protoqueue.dev", "v1alpha1", "queues", "Queue")
CONSUMER_GROUPS = Kind("protoqueue.dev", "v1alpha1", "consumergroups", "ConsumerGroup")
REDRIVES = Kind("protoqueue.dev", "v1alpha1", "redrives", "Redrive")


class KubeClient:
    """An open connection pool to one API server. Network trouble surfaces as aiohttp.ClientError or TimeoutError."""

    def __init__(self, kubeconfig: Path, user_agent: str) -> None:
        self._access = read_access(kubeconfig)
        headers = {"User-Agent": user_agent, "Accept": "application/json"}
        if self._access.token:
            headers["Authorization"] = f"Bearer {self._access.token}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(ssl=self._access.tls, limit=0),
            timeout=aiohttp.ClientTimeout(total=30),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, kind: Kind, name: str, namespace: str | None = None) -> Object:
        return await self._request("GET", kind.path(namespace, name))

    async def list(self, kind: Kind, namespace: str | None = None, **selectors: str) -> Object:
        return await self._request("GET", kind.path(namespace), params=selectors)

    async def create(
        self, kind: Kind, body: Object, namespace: str | None = None, name: str | None = None, subresource: str = ""
    ) -> Object:
        """POST `body`; with `name` and `subresource` to a subresource such as a pod's `binding`."""
        path = kind.path(namespace, name, subresource or None)
        return await self._request("POST", path, body={"apiVersion": kind.api_version, "kind": kind.name, **body})

    async def merge(
        self, kind: Kind, patch: Object, name: str, namespace: str | None = None, subresource: str | None = None
    ) -> Object:
        return await self._request("PATCH", kind.path(namespace, name, subresource), body=patch, content_type=_MERGE)

    async def apply(self, kind: Kind, body: Object, name: str, field_manager: str) -> Object:
        """Server-side apply of a cluster-scoped object, taking over fields that others own."""
        body = {"apiVersion": kind.api_version, "kind": kind.name, **body}
        params = {"fieldManager": field_manager, "force": "true"}
        return await self._request("PATCH", kind.path(None, name), params=params, body=body, content_type=_APPLY)

    async def delete(
        self, kind: Kind, name: str, namespace: str | None, uid: str, grace_period_s: int | None = None
    ) -> Object:
        """Delete exactly the object of this uid; a successor of the same name is left alone (409 Conflict)."""
        options: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        if grace_period_s is not None:
            options["gracePeriodSeconds"] = grace_period_s
        options["propagationPolicy"] = "Background"
        return await self._request("DELETE", kind.path(namespace, name), body=options)

    async def watch(
        self, kind: Kind, resource_version: str, namespace: str | None = None, **selectors: str
    ) -> AsyncIterator[Object]:
        """Yield watch events until the server ends the stream; an ERROR event raises ApiError (410: list again)."""
        params = {
            **selectors,
            "watch": "true",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": "300",
        }
        # Bookmarks come about once a minute, so two silent minutes mean that the connection is dead.
        silence = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=120)
        url = self._access.server + kind.path(namespace)
        async with self._session.get(url, params=params, timeout=silence) as response:
            await _raise_for_status(response)
            async for line in _lines(response.content):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise _api_error(event["object"].get("code", 500), event["object"])
                yield event

    async def log_lines(
        self, pod: str, namespace: str, container: str, *, previous: bool = False
    ) -> AsyncIterator[str]:
        """Follow the log of a container's present start, or of the one before, from its beginning to its end."""
        url = self._access.server + PODS.path(namespace, pod, "log")
        params = {"container": container, "follow": "true"} | ({"previous": "true"} if previous else {})
        endless = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with self._session.get(url, params=params, timeout=endless) as response:
            await _raise_for_status(response)
            async for line in _lines(response.content):
                yield line.decode(errors="replace")

    async def _request(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
    ) -> Object:
        data = None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": content_type}
        url = self._access.server + path
        async with self._session.request(method, url, params=params, data=data, headers=headers) as response:
            await _raise_for_status(response)
            answer: Object = json.loads(await response.read())
            return answer


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length: aiohttp's own readline refuses what a large object fills."""
    rest = b""
    async for chunk in stream.iter_any():
        *complete, rest = (rest + chunk).split(b"\n")
        for line in complete:
            if line.strip():
                yield line


async def _raise_for_status(response: aiohttp.ClientResponse) -> None:
    if response.status < 400:
        return
    text = await response.text()
    try:
        status = json.loads(text)
    except ValueError:
        status = {"message": text[:500]}
    raise _api_error(response.status, status)


def _api_error(code: int, status: Object) -> ApiError:
    return ApiError(code, status.get("reason") or "Unknown", status.get("message") or "")
