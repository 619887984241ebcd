"""Deletion of an object of any kind: waiting with a reason, or giving up and reporting what is left behind."""

from collections.abc import Callable
from datetime import datetime

from protoqueue_operator.api.v1alpha1.labels import ABANDON_ANNOTATION
from protoqueue_operator.api.v1alpha1.status import Resource, not_ready
from protoqueue_operator.runtime.client import Kubernetes
from protoqueue_operator.runtime.event_recorder import EventRecorder
from protoqueue_operator.runtime.finalizers import Finalizers
from protoqueue_operator.runtime.status_writer import StatusWriter
from protoqueue_operator.runtime.workqueue import Requeue

TERMINATING_NAMESPACE_WAIT_S = 15.0
"""How long a namespace being deleted waits for assets outside Kubernetes before they are left behind."""

_CHECK_AGAIN_S = 2.0


class Deletion:
    """For objects of any kind that have the operator's finalizer."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        finalizers: Finalizers,
        status: StatusWriter,
        events: EventRecorder,
        now: Callable[[], datetime],
    ) -> None:
        self._kubernetes = kubernetes
        self._finalizers = finalizers
        self._status = status
        self._events = events
        self._now = now

    def wait(self, resource: Resource, reason: str, message: str) -> Requeue:
        """Report in the status what the deletion waits for."""
        before = resource.status.condition("Ready")
        is_news = before is None or before.reason != reason  # otherwise only the numbers have changed
        condition = not_ready(resource.meta.generation, reason, message)
        self._status.report(resource, {}, [condition], urgent=is_news)
        return Requeue(_CHECK_AGAIN_S)

    def leave_behind(self, resource: Resource, message: str) -> None:
        """Report what is not removed."""
        self._events.event(resource.meta, "Warning", "LeftBehind", message)

    async def abandon(self, resource: Resource) -> None:
        """Release it without removing anything. Raises ApiError."""
        self.leave_behind(
            resource, f"what it made in NATS was left behind, as the annotation {ABANDON_ANNOTATION} asks"
        )
        await self.finish(resource)

    async def finish(self, resource: Resource) -> None:
        """Let the object go. Raises ApiError."""
        await self._finalizers.remove(resource.meta)

    async def gives_up_waiting(self, resource: Resource) -> bool:
        """Whether its namespace is being deleted, and has waited long enough. Raises ApiError."""
        if self.deleting_for_s(resource) < TERMINATING_NAMESPACE_WAIT_S:
            return False
        return await self._kubernetes.namespace_is_terminating(resource.meta.namespace)

    def deleting_for_s(self, resource: Resource) -> float:
        since = resource.meta.deleting_since
        return (self._now() - since).total_seconds() if since else 0.0


def how_to_abandon(resource: Resource) -> str:
    """What a user can do if NATS is gone for good."""
    kind, meta = resource.meta.key.kind.lower(), resource.meta
    return (
        "it will be tried again. If this NATS is gone for good, let the resource go and leave behind what is there: "
        f"kubectl annotate -n {meta.namespace} {kind} {meta.name} {ABANDON_ANNOTATION}=true"
    )
