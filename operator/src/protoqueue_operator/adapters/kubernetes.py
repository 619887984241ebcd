"""The Kubernetes API, as far as the operator writes to it; kopf does the watching.

Plain requests with JSON bodies: at thousands of objects the generated client's models cost more than the API itself.
"""

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import kopf

from protoqueue_operator.core.deployment import FIELD_MANAGER
from protoqueue_operator.core.resources import Key

logger = logging.getLogger(__name__)

Json = dict[str, Any]

_TIMEOUT = aiohttp.ClientTimeout(total=30)
_PLURALS = {
    "Queue": "apis/protoqueue.dev/v1alpha1/namespaces/{namespace}/queues",
    "ConsumerGroup": "apis/protoqueue.dev/v1alpha1/namespaces/{namespace}/consumergroups",
    "Secret": "api/v1/namespaces/{namespace}/secrets",
    "Lease": "apis/coordination.k8s.io/v1/namespaces/{namespace}/leases",
    "Deployment": "apis/apps/v1/namespaces/{namespace}/deployments",
}


class ApiError(Exception):
    """The API server refused, or (status 0) did not answer."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class Gone(ApiError):
    """The object does not exist, any more or yet."""


class Conflict(ApiError):
    """Somebody else wrote first: read again, decide again."""


class Invalid(ApiError):
    """The object breaks the rules of its kind: the same request will never be taken."""


class Kubernetes:
    """`login` gives the credentials, and is asked again when they are refused."""

    def __init__(self, login: Callable[[], kopf.ConnectionInfo]) -> None:
        self._login = login
        self._session: aiohttp.ClientSession | None = None
        self._server = ""
        self._kinds: dict[tuple[str, str], str] = {}

    async def get(self, key: Key) -> Json:
        """Raises ApiError, Gone."""
        return await self._ask("GET", _path(key))

    async def namespace_is_terminating(self, name: str) -> bool:
        """True also when it is gone. Raises ApiError."""
        try:
            namespace = await self._ask("GET", f"api/v1/namespaces/{_segment(name)}")
        except Gone:
            return True
        return namespace["metadata"].get("deletionTimestamp") is not None

    async def set_finalizers(self, key: Key, resource_version: str, finalizers: tuple[str, ...]) -> Json:
        """Replace the finalizers of exactly that version. Raises Conflict, Gone, ApiError."""
        return await self._ask(
            "PATCH",
            _path(key),
            {"metadata": {"resourceVersion": resource_version, "finalizers": list(finalizers)}},
            content_type="application/merge-patch+json",
            query={"fieldManager": FIELD_MANAGER},
        )

    async def patch_status(self, key: Key, uid: str, patch: Mapping[str, Any]) -> Json:
        """Merge into the status of that very object. Raises Conflict (another uid), Gone, ApiError."""
        return await self._ask(
            "PATCH",
            f"{_path(key)}/status",
            {"metadata": {"uid": uid}, "status": patch},
            content_type="application/merge-patch+json",
            query={"fieldManager": FIELD_MANAGER},
        )

    async def apply(self, key: Key, configuration: Mapping[str, Any]) -> Json:
        """Server-side apply; what others set on the same fields is overruled. Raises ApiError."""
        return await self._ask(
            "PATCH",
            _path(key),
            configuration,
            content_type="application/apply-patch+yaml",
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
        )

    async def delete(self, key: Key, uid: str) -> None:
        """That very object, its dependents after it. Raises Conflict (another uid), Gone, ApiError."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
        }
        await self._ask("DELETE", _path(key), options)

    async def scale(self, api_version: str, kind: str, namespace: str, name: str) -> Json:
        """The scale subresource of anything that has one. Raises Gone (also where there is none), ApiError."""
        return await self._ask("GET", await self._scale_path(api_version, kind, namespace, name))

    async def set_scale(self, api_version: str, kind: str, namespace: str, name: str, replicas: int) -> Json:
        """Raises Gone, Conflict, ApiError."""
        return await self._ask(
            "PATCH",
            await self._scale_path(api_version, kind, namespace, name),
            {"spec": {"replicas": replicas}},
            content_type="application/merge-patch+json",
            query={"fieldManager": FIELD_MANAGER},
        )

    async def create_lease(self, key: Key, holder: str, now: str, duration_s: float) -> Json:
        """Raises Conflict where another was first, and ApiError."""
        return await self._ask("POST", _collection(key.kind, key.namespace), _lease(key, holder, now, duration_s))

    async def put_lease(self, key: Key, holder: str, resource_version: str, now: str, duration_s: float) -> Json:
        """Replace exactly that version. Raises Conflict and ApiError."""
        return await self._ask("PUT", _path(key), _lease(key, holder, now, duration_s, resource_version))

    async def create_event(self, namespace: str, event: Mapping[str, Any]) -> None:
        """Raises ApiError."""
        await self._ask("POST", f"api/v1/namespaces/{_segment(namespace)}/events", event)

    async def close(self) -> None:
        if self._session:
            await self._session.close()
            self._session = None

    async def _scale_path(self, api_version: str, kind: str, namespace: str, name: str) -> str:
        root = "/".join(("apis" if "/" in api_version else "api", *map(_segment, api_version.split("/"))))
        plural = self._kinds.get((api_version, kind))
        if plural is None:
            resources = (await self._ask("GET", root))["resources"]
            names = [each["name"] for each in resources if each["kind"] == kind and "/" not in each["name"]]
            if not names:
                raise Gone(404, "NotFound", f"the cluster knows no {kind} in {api_version}")
            plural = self._kinds[api_version, kind] = names[0]
        return f"{root}/namespaces/{_segment(namespace)}/{_segment(plural)}/{_segment(name)}/scale"

    async def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Json:
        for refused_before in (False, True):
            session = self._session or self._open()
            url = f"{self._server}/{path}" + (f"?{urlencode(query)}" if query else "")
            data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
            try:
                async with session.request(
                    method, url, data=data, headers={"Content-Type": content_type}, timeout=_TIMEOUT
                ) as response:
                    answer: Json = json.loads(await response.read() or b"{}")
            except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as error:
                raise ApiError(0, "Unreachable", f"the Kubernetes API did not answer: {error!r}") from error
            if response.status == 401 and not refused_before:
                await self.close()
                continue
            if response.status >= 400:
                raise _error(response.status, answer)
            return answer
        raise AssertionError("unreachable: the second answer is returned or raised")

    def _open(self) -> aiohttp.ClientSession:
        credentials = self._login()
        self._server = credentials.server.rstrip("/")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=32, ssl=credentials.as_ssl_context()),
            headers={"Accept": "application/json", "User-Agent": FIELD_MANAGER, **credentials.as_http_headers()},
            proxy=credentials.proxy_url,
            trust_env=credentials.trust_env,
        )
        return self._session


def _path(key: Key) -> str:
    return f"{_collection(key.kind, key.namespace)}/{_segment(key.name)}"


def _collection(kind: str, namespace: str) -> str:
    return _PLURALS[kind].format(namespace=_segment(namespace))


def _segment(name: str) -> str:
    """One segment of a path, whatever the name holds: a slash or two dots in it would lead to another object."""
    if name in ("", ".", ".."):
        raise Gone(404, "NotFound", f"no object is named {name!r}")
    return quote(name, safe="")


def _lease(key: Key, holder: str, now: str, duration_s: float, resource_version: str | None = None) -> Json:
    metadata = {"name": key.name, "namespace": key.namespace}
    if resource_version:
        metadata["resourceVersion"] = resource_version
    spec = {"holderIdentity": holder, "leaseDurationSeconds": int(duration_s), "renewTime": now}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def _error(status: int, answer: Json) -> ApiError:
    kind = {400: Invalid, 404: Gone, 409: Conflict, 422: Invalid}.get(status, ApiError)
    return kind(status, answer.get("reason", ""), answer.get("message", f"HTTP status {status}"))
