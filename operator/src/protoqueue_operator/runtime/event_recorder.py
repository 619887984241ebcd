"""Records Events about objects; the correlator decides which are sent."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from protoqueue_operator.api.v1alpha1.meta import Meta
from protoqueue_operator.runtime.cache import Cache
from protoqueue_operator.runtime.client import ApiError, Gone, Kubernetes
from protoqueue_operator.runtime.event_correlator import Correlator, Event, Post
from protoqueue_operator.runtime.workqueue import Observer, Requeue, WorkQueue

logger = logging.getLogger(__name__)

_BACKLOG = 1000
"""Events that may wait to be sent; more are dropped."""

_TERMINATING = "because it is being terminated"
"""The API server's message, with status 403, for creations in a namespace that is being deleted."""
_CLOSED_FOR = timedelta(seconds=60)


class EventRecorder:
    """Events about the objects in these caches; sent in the background, one at a time."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        caches: Mapping[str, Cache[Any]],
        now: Callable[[], datetime],
        observer: Observer | None = None,
    ) -> None:
        self._kubernetes = kubernetes
        self._caches = caches
        self._now = now
        self._correlator = Correlator()
        self._closed: dict[str, datetime] = {}
        """Namespaces being deleted, and when that was last seen."""
        self.sends: WorkQueue[_Outgoing] = WorkQueue(self._post, 1, observer)

    def event(self, meta: Meta, kind: str, reason: str, message: str) -> None:
        """An Event about the object; `kind` is Normal or Warning. Dropped, with a log line, under a flood of them."""
        if len(self.sends) < _BACKLOG:
            api_version = self._caches[meta.key.kind].kind.api_version
            self.sends.add(_Outgoing(Event(meta, kind, reason, message, self._now(), api_version)))
        else:
            logger.warning("event dropped: object=%s reason=%s message=%s", meta.key, reason, message)

    def drift(self, meta: Meta, how: Literal["changed", "deleted"], what: str) -> None:
        """Assets that others had changed are as specified again."""
        self.event(meta, "Warning", "DriftRepaired", f"was {how} by somebody else: {what}")

    def start(self) -> None:
        self.sends.start()

    def cancel(self) -> None:
        self.sends.cancel()

    async def stop(self) -> None:
        await self.sends.stop()

    def _takes_no_events(self, namespace: str) -> bool:
        """Whether it was found to be being deleted: then all its objects have Events, and none is accepted."""
        since = self._closed.get(namespace)
        if since is None:
            return False
        if self._now() - since < _CLOSED_FOR:
            return True
        del self._closed[namespace]
        return False

    async def _post(self, item: "_Outgoing") -> Requeue | None:
        """One at a time: whether an Event is a repetition is known once the previous one is stored."""
        if item.post is None:
            item.post, item.key = self._correlator.correlate(item.event)
        post, namespace = item.post, item.event.meta.namespace
        if post is None or self._takes_no_events(namespace):
            return None
        try:
            if post.name:
                await self._kubernetes.patch_event(namespace, post.name, post.body)
            else:
                self._correlator.posted(item.key, await self._kubernetes.create_event(namespace, post.body))
        except Gone:
            if post.name:  # it has waited for too long
                self._correlator.posted(item.key, "")
                item.post = None
                return Requeue()
        except ApiError as error:
            if error.status == 0 or error.status >= 500:
                return Requeue()
            if error.status == 403 and _TERMINATING in str(error):
                self._closed[namespace] = self._now()
                return None
            logger.info("event refused: object=%s reason=%s error=%s", item.event.meta.key, item.event.reason, error)
        return None


@dataclass(eq=False)
class _Outgoing:
    """An Event being sent, and the decision about it."""

    event: Event
    post: Post | None = None
    key: tuple[str, ...] = ()
