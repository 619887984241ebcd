"""Whether a group's workers are available, and if not, why.

For the operator's own Deployments the watch reports how many workers are available. A `scaleTargetRef` may name an
object of any kind: there the pods are listed, and only while there is work. Why workers fail is known from pods only.
"""

import logging
from collections.abc import Callable, Mapping

from protoqueue_operator.api.v1alpha1.deployment import Deployment
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group
from protoqueue_operator.autoscaling.availability import assess
from protoqueue_operator.autoscaling.state import GroupState, Size
from protoqueue_operator.autoscaling.target_claims import own_target
from protoqueue_operator.autoscaling.worker_pods import Pod, failure, parse_pods, ready_count
from protoqueue_operator.runtime.client import ApiError, Kubernetes

logger = logging.getLogger(__name__)

PODS_AGE_S = 5.0
"""The maximum age of the pods' state while there is work."""


class WorkerHealth:
    """`changed` is called with each group whose `failure` has changed."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        deployments: Mapping[Key, Deployment],
        monotonic: Callable[[], float],
        changed: Callable[[Group], None],
    ) -> None:
        self._kubernetes = kubernetes
        self._deployments = deployments
        self._monotonic = monotonic
        self._changed = changed

    async def count_available(self, group: Group, state: GroupState, size: Size) -> None:
        """Find out how many workers of a scale target are available. Raises nothing."""
        if size.is_own or not size.selector or not size.observed:
            return
        now = self._monotonic()
        if state.pods_at is None or now - state.pods_at >= PODS_AGE_S:
            pods = await self._pods(group, state, size.selector)
            state.pods_at, state.available = now, None if pods is None else ready_count(pods)

    async def check(self, group: Group, state: GroupState, size: Size, has_work: bool) -> None:
        """Detect that workers are failing, or no longer are. Raises nothing."""
        before, now = state.availability, self._monotonic()
        after = state.availability = assess(
            before, wanted=size.wanted, available=size.ready, has_work=has_work, now=now
        )
        was = state.failure
        if not after.is_failing:
            state.failure = ""
        elif not before.is_failing or now - state.failure_at >= PODS_AGE_S:
            pods = await self._pods(group, state, size.selector) if size.selector else None
            state.failure_at = now
            state.failure = failure(pods or (), size.ready, size.wanted)
            trouble = deployment_trouble(group, self._deployments)
            if not pods and trouble:  # as if a quota allows none to be created
                state.failure = (
                    f"{size.ready} of {size.wanted} workers available; the Deployment {group.meta.name}: {trouble}"
                )
        if state.failure != was and not state.is_refused:
            self._changed(group)

    async def _pods(self, group: Group, state: GroupState, selector: str) -> list[Pod] | None:
        """None if they may not be listed, as with a chart older than the operator."""
        pods: list[Pod] = []
        try:
            async for page in self._kubernetes.pages("Pod", group.meta.namespace, selector, True):
                pods += parse_pods(page["items"])
        except ApiError as error:
            if state.pods_error != str(error):
                logger.warning("pods not listed: object=%s error=%s; workers count as ready", group.meta.key, error)
            state.pods_error = str(error)
            return None
        state.pods_error = ""
        return pods


def deployment_trouble(group: Group, deployments: Mapping[Key, Deployment]) -> str | None:
    """Why workers that the operator runs do not come up, as far as the watch shows."""
    known = deployments.get(own_target(group).key)
    return known.trouble if known and known.controller_uid == group.meta.uid else None
