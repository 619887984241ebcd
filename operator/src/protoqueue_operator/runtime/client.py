"""The Kubernetes API, as far as the operator reads and writes it; kopf does the watching.

Plain requests with JSON bodies: at thousands of objects the generated client's models cost more than the API itself.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import kopf

from protoqueue_operator.api.v1alpha1.labels import FIELD_MANAGER
from protoqueue_operator.api.v1alpha1.meta import Key, Kind

logger = logging.getLogger(__name__)

Json = dict[str, Any]

_TIMEOUT = aiohttp.ClientTimeout(total=30)
_BUILT_IN = (
    Kind("Secret", "v1", "secrets"),
    Kind("Pod", "v1", "pods"),
    Kind("Event", "v1", "events"),
    Kind("Lease", "coordination.k8s.io/v1", "leases"),
    Kind("Deployment", "apps/v1", "deployments"),
)
_OUTLINE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_FIRST_PAGE = 50
_SMALLEST_PAGE = 10
_LARGEST_PAGE = 500
_PAGE_BYTES = 4 << 20
"""One object may be a megabyte and a half, and takes ten times that once it is decoded."""
_WAITS = 3
"""How often a request is retried on a server that asks to wait, before the caller gets the error."""
_LONGEST_WAIT_S = 10.0
_NOT_OF_ITS_KIND = ("failed to create typed patch object", "failed to convert new")
"""The API server's messages, with status 500, for applied fields that are unknown, of another type, or unreadable."""


class ApiError(Exception):
    """The API server refused, or (status 0) did not answer."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason

    @property
    def is_refusal(self) -> bool:
        """Whether the same request would fail the same way until something is changed, as without a permission."""
        return 400 <= self.status < 500 and self.status not in (409, 429)

    @property
    def is_failure(self) -> bool:
        """Whether the API server reports an internal error, which it also does for some invalid requests."""
        return self.status == 500


class Gone(ApiError):
    """The object does not exist, any more or yet."""


class Conflict(ApiError):
    """Another client wrote first: read again, decide again."""


class Invalid(ApiError):
    """The object breaks the rules of its kind: the same request will never succeed."""


class Kubernetes:
    """Reads and writes objects of the built-in kinds that the operator needs, and of the `kinds` it is given."""

    def __init__(self, login: Callable[[], kopf.ConnectionInfo], kinds: Iterable[Kind] = ()) -> None:
        """`login` returns the credentials, and is called again when they are refused."""
        self._login = login
        self._collections = {kind.name: f"{_root(kind.api_version)}/{{}}{kind.plural}" for kind in (*_BUILT_IN, *kinds)}
        self._session: aiohttp.ClientSession | None = None
        self._server = ""
        self._scalable: dict[tuple[str, str], str] = {}

    async def get(self, key: Key) -> Json:
        """Raises ApiError, Gone."""
        return await self._ask("GET", self._path(key))

    async def version(self, key: Key) -> str:
        """The object's resourceVersion; the rest of it is not sent. Raises ApiError, Gone."""
        outline = await self._ask("GET", self._path(key), accept=_OUTLINE)
        return str(outline["metadata"]["resourceVersion"])

    async def pages(
        self, kind: str, namespace: str | None, selector: str, from_cache: bool = False
    ) -> AsyncIterator[Json]:
        """All objects of a kind, in one namespace or (None) in all, in lists of some megabytes. Raises ApiError.

        `from_cache`: as the API server last saw them, in one list, which costs etcd nothing.
        """
        limit = _FIRST_PAGE
        query = {"labelSelector": selector} if selector else {}
        if from_cache:
            query["resourceVersion"] = "0"
        while True:
            answer = await self._send("GET", self._collection(kind, namespace), query=query | {"limit": str(limit)})
            page: Json = answer.content
            limit = _next_page(limit, answer.size, len(page["items"]))
            yield page
            if not (rest := page["metadata"].get("continue")):
                return
            query.pop("resourceVersion", None)  # the place in a list has its own
            query["continue"] = rest
            del answer, page  # otherwise two pages are held at a time

    async def first_page(self, kind: str, namespace: str | None, selector: str) -> Json:
        """One object of a kind, if there is any, as a list. Raises ApiError."""
        query = {"limit": "1"} | ({"labelSelector": selector} if selector else {})
        return await self._ask("GET", self._collection(kind, namespace), query=query)

    async def namespace_is_terminating(self, name: str) -> bool:
        """True also when it is gone. Raises ApiError."""
        try:
            namespace = await self._ask("GET", f"api/v1/namespaces/{_segment(name)}")
        except Gone:
            return True
        return namespace["metadata"].get("deletionTimestamp") is not None

    async def namespace_uid(self, name: str) -> str:
        """Raises ApiError, Gone."""
        namespace = await self._ask("GET", f"api/v1/namespaces/{_segment(name)}")
        return str(namespace["metadata"]["uid"])

    async def set_finalizers(self, key: Key, resource_version: str, finalizers: tuple[str, ...]) -> Json:
        """Replace the finalizers of exactly that version. Raises Conflict, Gone, ApiError."""
        return await self._ask(
            "PATCH",
            self._path(key),
            {"metadata": {"resourceVersion": resource_version, "finalizers": list(finalizers)}},
            content_type="application/merge-patch+json",
            query={"fieldManager": FIELD_MANAGER},
        )

    async def annotate(self, key: Key, uid: str, annotations: Mapping[str, str]) -> None:
        """Set these annotations of that very object. Raises Conflict (another uid), Gone, ApiError."""
        await self._ask(
            "PATCH",
            self._path(key),
            {"metadata": {"uid": uid, "annotations": annotations}},
            content_type="application/merge-patch+json",
            query={"fieldManager": FIELD_MANAGER},
        )

    async def patch_status(self, key: Key, uid: str, patch: Mapping[str, Any]) -> Json:
        """Merge into the status of that very object. Raises Conflict (another uid), Gone, ApiError."""
        return await self._ask(
            "PATCH",
            f"{self._path(key)}/status",
            {"metadata": {"uid": uid}, "status": patch},
            content_type="application/merge-patch+json",
            query={"fieldManager": FIELD_MANAGER},
        )

    async def apply(self, key: Key, configuration: Mapping[str, Any]) -> Json:
        """Server-side apply; what others set on the same fields is overruled. Raises ApiError."""
        return await self._ask(
            "PATCH",
            self._path(key),
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
        await self._ask("DELETE", self._path(key), options)

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

    async def create_lease(self, key: Key, lease: Mapping[str, Any]) -> Json:
        """Raises Conflict where another was first, and ApiError."""
        metadata = {"name": key.name, "namespace": key.namespace}
        return await self._ask("POST", self._collection(key.kind, key.namespace), _lease(lease, metadata))

    async def put_lease(self, key: Key, lease: Mapping[str, Any]) -> Json:
        """Replace exactly the version that it names. Raises Conflict, Gone and ApiError."""
        return await self._ask("PUT", self._path(key), _lease(lease, lease["metadata"]))

    async def create_event(self, namespace: str, event: Mapping[str, Any]) -> str:
        """Returns the name it was stored under. Raises ApiError."""
        stored = await self._ask("POST", self._collection("Event", namespace), event)
        return str(stored["metadata"]["name"])

    async def patch_event(self, namespace: str, name: str, changes: Mapping[str, Any]) -> None:
        """Raises ApiError, Gone."""
        await self._ask(
            "PATCH",
            self._path(Key("Event", namespace, name)),
            changes,
            content_type="application/merge-patch+json",
            query={"fieldManager": FIELD_MANAGER},
        )

    async def close(self) -> None:
        session, self._session = self._session, None
        if session:
            await session.close()

    def _path(self, key: Key) -> str:
        return f"{self._collection(key.kind, key.namespace)}/{_segment(key.name)}"

    def _collection(self, kind: str, namespace: str | None) -> str:
        return self._collections[kind].format("" if namespace is None else f"namespaces/{_segment(namespace)}/")

    async def _scale_path(self, api_version: str, kind: str, namespace: str, name: str) -> str:
        root = _root(api_version)
        plural = self._scalable.get((api_version, kind))
        if plural is None:
            try:
                resources = (await self._ask("GET", root))["resources"]
            except Gone:
                resources = []
            names = {each["name"] for each in resources}
            plurals = [each["name"] for each in resources if each["kind"] == kind and "/" not in each["name"]]
            if not plurals:
                raise Gone(404, "NotFound", f"the cluster knows no {kind} in {api_version}")
            plural = plurals[0]
            if f"{plural}/scale" not in names:
                raise Gone(404, "NotFound", f"a {kind} has no size: it lacks the scale subresource")
            self._scalable[api_version, kind] = plural
        return f"{root}/namespaces/{_segment(namespace)}/{_segment(plural)}/{_segment(name)}/scale"

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, **how: Any) -> Json:
        return (await self._send(method, path, body, **how)).content

    async def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> "_Answer":
        """Logs in again if the credentials have expired, and waits if the server is busy and says for how long."""
        path_and_query = path + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        refused, waited = False, 0
        while True:
            session = self._session or self._open()
            url = f"{self._server}/{path_and_query}"
            try:
                async with session.request(
                    method, url, data=data, headers={"Content-Type": content_type, "Accept": accept}, timeout=_TIMEOUT
                ) as response:
                    text = await response.read()
                    answer = _Answer(_decoded(response.status, text), len(text))
            except (TimeoutError, aiohttp.ClientError, OSError, RecursionError, ValueError) as error:
                raise ApiError(0, "Unreachable", f"the Kubernetes API did not answer: {error!r}") from error
            if response.status < 400:
                return answer
            if response.status == 401 and not refused:
                refused = True
                if session is self._session:  # otherwise another request has logged in already
                    await self.close()
            elif (wait_s := _retry_after_s(response)) is not None and waited < _WAITS:
                waited += 1
                await asyncio.sleep(wait_s)
            else:
                raise _error(response.status, answer.content)

    def _open(self) -> aiohttp.ClientSession:
        credentials = self._login()
        self._server = credentials.server.rstrip("/")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=32, ssl=credentials.as_ssl_context()),
            headers={"User-Agent": FIELD_MANAGER, **credentials.as_http_headers()},
            proxy=credentials.proxy_url,
            trust_env=credentials.trust_env,
        )
        return self._session


@dataclass(frozen=True)
class _Answer:
    content: Json
    size: int
    """In bytes, as sent."""


def _next_page(limit: int, size: int, items: int) -> int:
    """The size of the next page, judged by the last one; grows slowly, in case other objects are larger."""
    fitting = _PAGE_BYTES * max(items, 1) // max(size, 1)
    return max(_SMALLEST_PAGE, min(fitting, 2 * limit, _LARGEST_PAGE))


def _root(api_version: str) -> str:
    """The path below which the API server serves a group and version."""
    return "/".join(("apis" if "/" in api_version else "api", *map(_segment, api_version.split("/"))))


def _segment(name: str) -> str:
    """A name as one segment of a path: a slash or two dots in it would lead to another object."""
    if name in ("", ".", ".."):
        raise Gone(404, "NotFound", f"no object is named {name!r}")
    return quote(name, safe="")


def _lease(lease: Mapping[str, Any], metadata: Mapping[str, Any]) -> Json:
    return {**lease, "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}


def _retry_after_s(response: aiohttp.ClientResponse) -> float | None:
    """As client-go does: only a server that is busy (429) or failing (5xx) can ask to be asked again."""
    text = response.headers.get("Retry-After", "")
    if not text.isdigit() or not (response.status == 429 or response.status >= 500):
        return None
    return min(float(text), _LONGEST_WAIT_S)


def _decoded(status: int, body: bytes) -> Json:
    """Not every refusal is JSON: unknown paths are answered with plain text. Raises ValueError."""
    try:
        answer: Json = json.loads(body or b"{}")
    except ValueError:
        if status < 400:
            raise
        return {"message": f"HTTP status {status}: {body[:200].decode(errors='replace').strip()}"}
    return answer


def _error(status: int, answer: Json) -> ApiError:
    kind = {400: Invalid, 404: Gone, 409: Conflict, 422: Invalid}.get(status, ApiError)
    message = answer.get("message", f"HTTP status {status}")
    if status == 500 and message.startswith(_NOT_OF_ITS_KIND):
        kind, message = Invalid, message.partition("): ")[2] or message
    return kind(status, answer.get("reason", ""), message)
