"""The current objects of one kind in Kubernetes, kept by a watch."""

import asyncio
import logging
from collections.abc import Sequence

from protoqueue_gateway.kubernetes.client import Json, Kubernetes, Listing, Resource
from protoqueue_gateway.kubernetes.errors import KubernetesError, NotAllowed

log = logging.getLogger(__name__)

_AGAIN_S = 1.0
_POLL_S = 5.0


class Mirror:
    """`objects` by namespace and name. While Kubernetes is away they keep their last state."""

    def __init__(self, kubernetes: Kubernetes, resource: Resource, namespaces: Sequence[str]) -> None:
        """Of some namespaces, or of all where none is given."""
        self._kubernetes = kubernetes
        self._resource = resource
        self._namespaces: Sequence[str | None] = namespaces or [None]
        self._listed: set[str | None] = set()
        self.objects: dict[tuple[str, str], Json] = {}
        self.completed = asyncio.Event()
        """Set once each namespace was listed."""

    async def run(self) -> None:
        """Follow until cancelled."""
        await asyncio.gather(*(self._follow(namespace) for namespace in self._namespaces))

    async def _follow(self, namespace: str | None) -> None:
        told = ""
        while True:
            try:
                async for news in self._kubernetes.follow(self._resource, namespace):
                    if isinstance(news, Listing):
                        self._replace(namespace, news.bodies)
                    elif news.is_gone:
                        self.objects.pop(_key(news.body), None)
                    else:
                        self.objects[_key(news.body)] = _lean(news.body)
                told = ""
            except KubernetesError as error:
                if told != str(error):
                    told = str(error)
                    log.warning("cannot watch %s, trying again: %s", self._resource.__name__, error)
                # With a role that may list and not watch, this is the polling interval.
                await asyncio.sleep(_POLL_S if isinstance(error, NotAllowed) else _AGAIN_S)

    def _replace(self, namespace: str | None, bodies: Sequence[Json]) -> None:
        there = {_key(body): _lean(body) for body in bodies}
        for key in [key for key in self.objects if namespace in (None, key[0]) and key not in there]:
            del self.objects[key]
        for key, body in there.items():
            known = self.objects.get(key)
            if known is None or known["metadata"].get("resourceVersion") != body["metadata"].get("resourceVersion"):
                self.objects[key] = body
        self._listed.add(namespace)
        if len(self._listed) == len(self._namespaces):
            self.completed.set()


def _key(body: Json) -> tuple[str, str]:
    return str(body["metadata"]["namespace"]), str(body["metadata"]["name"])


def _lean(body: Json) -> Json:
    """Without managedFields, which take more memory than the fields themselves."""
    body["metadata"].pop("managedFields", None)
    return body
