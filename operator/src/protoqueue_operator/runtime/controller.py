"""Serves the work queue: passes each object to the reconciler of its kind, and handles errors."""

import logging
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol, TypeVar

from protoqueue_operator.api.v1alpha1.errors import BrokerUnavailable, Refusal
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.runtime.cache import Cache
from protoqueue_operator.runtime.client import ApiError, Conflict, Gone
from protoqueue_operator.runtime.metrics import Metrics
from protoqueue_operator.runtime.workqueue import Requeue, WorkQueue

logger = logging.getLogger(__name__)

_UNAVAILABLE_LONGEST_S = 10.0
"""All are notified of a connection that comes back; nothing reports when one stream's servers are back."""

Obj = TypeVar("Obj", contravariant=True)


class Reconciler(Protocol[Obj]):
    """Reconciles the objects of one kind."""

    async def reconcile(self, resource: Obj) -> Requeue | None:
        """Compare the desired with the observed state, and do what is missing; None if nothing is left to do.

        May raise ApiError and BrokerUnavailable.
        """

    def refuse(self, resource: Obj, reason: str, message: str) -> None:
        """Report in the status that the object is not Ready, and why."""

    def forget(self, key: Key) -> None:
        """The object is gone: drop its state."""


class Controller:
    """Reconciles the objects of several kinds from one work queue. Any part that sees a change adds the key."""

    def __init__(
        self,
        caches: Mapping[str, Cache[Any]],
        reconcilers: Mapping[str, Reconciler[Any]],
        metrics: Metrics,
        *,
        workers: int = 16,
        share_of: Callable[[Key], Hashable | None] = lambda _: None,
        share: int = 0,
    ) -> None:
        """Caches and reconcilers by kind. Of keys with the same `share_of`, `share` are served at a time."""
        self._caches = caches
        self._reconcilers = reconcilers
        self._metrics = metrics
        self._failed: set[Key] = set()
        """Reconciles in progress that have ended in an error."""
        self._api_errors: dict[Key, str] = {}
        """What the API server said when the last reconcile of each object failed on it."""
        self.work: WorkQueue[Key] = WorkQueue(self.reconcile, workers, metrics.work_queue("reconcile"), share_of, share)

    async def reconcile(self, key: Key) -> Requeue | None:
        """Reconcile one object once; returns when to do so again. Raises nothing."""
        with self._metrics.reconcile_seconds.labels(key.kind).time():
            again = await self._reconcile(key, self._api_errors.pop(key, None))
        self._metrics.reconciles.labels(key.kind.lower(), self._result(key, again)).inc()
        return again

    def count_error(self, key: Key, error: Refusal | BrokerUnavailable) -> None:
        """The reconcile that is under way has ended in this error."""
        if error.is_error:
            self._count(key, error.reason)

    def _count(self, key: Key, why: str) -> None:
        self._failed.add(key)
        self._metrics.reconcile_errors.labels(key.kind, why).inc()

    async def _reconcile(self, key: Key, error_before: str | None) -> Requeue | None:
        reconciler, resource = self._reconcilers[key.kind], self._caches[key.kind].get(key)
        try:
            if resource is None:
                self.work.forget(key)
                self._api_errors.pop(key, None)
                reconciler.forget(key)
                return None
            return await reconciler.reconcile(resource)
        except Gone:
            return None
        except Conflict:
            logger.debug("object has changed: object=%s", key)
            return Requeue()
        except BrokerUnavailable as error:  # of a request that does not decide whether the object is ready
            logger.info("nats unavailable: object=%s error=%s; retrying", key, error)
            return Requeue()
        except ApiError as error:
            self._count(key, "Kubernetes")
            logger.warning("kubernetes request failed: object=%s status=%s error=%s", key, error.status, error)
            if error.is_failure:
                self._api_errors[key] = str(error)
            # A failing server may recover; the same message again is about this very request.
            if resource and (error.is_refusal or (error.is_failure and error_before == str(error))):
                reconciler.refuse(resource, "KubernetesRefused", str(error))
            return Requeue()
        except Exception as error:
            # A bug in the operator, or an invalid answer of a server.
            self._metrics.reconcile_errors.labels(key.kind, "InternalError").inc()
            logger.exception("reconcile failed: object=%s; retrying", key)
            if resource:
                what = type(error).__name__
                reconciler.refuse(resource, "InternalError", f"the operator failed ({what}); retrying, see its log")
            return Requeue()

    def _result(self, key: Key, again: Requeue | None) -> str:
        """As controller-runtime says it."""
        if key in self._failed:
            self._failed.discard(key)
            return "error"
        return "success" if again is None else "requeue_after" if again.after_s is not None else "requeue"


def requeue_after(error: Refusal | BrokerUnavailable) -> Requeue | None:
    """When to reconcile again after this error; None: when a watch reports a change."""
    if isinstance(error, BrokerUnavailable):
        return Requeue(longest_s=_UNAVAILABLE_LONGEST_S)
    if error.retry_s is not None:
        return Requeue(error.retry_s)
    return Requeue() if error.backs_off else None
