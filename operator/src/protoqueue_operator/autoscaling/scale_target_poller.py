"""Detects that a `scaleTargetRef`'s object was created, sized or removed by others, without a watch.

It may be of any kind, so only its scale is read, once for all groups that name it. The group, and thereby JetStream, is
only evaluated if more than its counters has changed.
"""

from collections.abc import Callable, Mapping

from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group
from protoqueue_operator.autoscaling.executor import Executor
from protoqueue_operator.autoscaling.scale_target import ScaleTargets
from protoqueue_operator.autoscaling.state import GroupStates
from protoqueue_operator.autoscaling.target_claims import TargetClaims, named_target
from protoqueue_operator.runtime.poller import go_round


class ScaleTargetPoller:
    """`look_again` is called with each group whose target appeared, disappeared, or changed its size."""

    def __init__(
        self,
        groups: Mapping[Key, Group],
        states: GroupStates,
        claims: TargetClaims,
        targets: ScaleTargets,
        executor: Executor,
        look_again: Callable[[Key], None],
        period_s: float,
    ) -> None:
        self._groups = groups
        self._states = states
        self._claims = claims
        self._targets = targets
        self._executor = executor
        self._look_again = look_again
        self._period_s = period_s

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            naming = [key for key, group in self._groups.items() if named_target(group)]
            await go_round(naming, self._ask_for, self._period_s)

    async def _ask_for(self, key: Key) -> None:
        group = self._groups.get(key)
        if group is None or group.meta.deleting_since or self._claims.taken_by_another(group):
            return
        state = self._states.of(group)
        async with state.lock, self._targets.turn(group):
            before, last_applied = state.scale, state.last_applied
            if before is None or last_applied is None:  # it is about to be evaluated, or was refused
                return
            now = state.scale = await self._targets.ask_again(group, before)
        if (before.replicas, before.trouble) != (now.replicas, now.trouble):
            self._look_again(key)
        elif last_applied.spec.autoscale:
            self._executor.report_size(group)
        else:  # also a size that was refused a while ago; it does not depend on the backlog
            await self._executor.scale(group, None)
