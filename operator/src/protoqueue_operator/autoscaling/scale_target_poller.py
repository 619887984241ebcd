"""Notices that what `scaleTargetRef` names was made, sized or removed by somebody else, without a watch.

It may be of any kind, so each is asked for its scale alone, and once however many groups name it. Only where that is
news to more than the counters is the group looked at, which asks JetStream too.
"""

from collections.abc import Callable

from protoqueue_operator.core.resources import Key
from protoqueue_operator.core.targets import named_target
from protoqueue_operator.reconcile.rounds import go_round
from protoqueue_operator.reconcile.runtime import Runtime
from protoqueue_operator.reconcile.scaling import Scaler
from protoqueue_operator.reconcile.targets import ask_again, taken_by_another


class TargetRounds:
    """`look_again` is called with each group whose target came, went, or got another size."""

    def __init__(self, runtime: Runtime, scaler: Scaler, look_again: Callable[[Key], None]) -> None:
        self._runtime = runtime
        self._scaler = scaler
        self._look_again = look_again

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            naming = [key for key, group in self._runtime.cache.groups.items() if named_target(group)]
            await go_round(naming, self._ask_for, self._runtime.settings.target_period_s)

    async def _ask_for(self, key: Key) -> None:
        group = self._runtime.cache.groups.get(key)
        if group is None or group.meta.deleting_since or taken_by_another(group, self._runtime):
            return
        state = self._runtime.state_of(key, group.meta.uid)
        async with state.lock:
            before, established = state.scale, state.established
            if before is None or established is None:  # it is about to be looked at, or was refused
                return
            now = state.scale = await ask_again(group, before, self._runtime)
        if (before.replicas, before.trouble) != (now.replicas, now.trouble):
            self._look_again(key)
        elif established.spec.autoscale:
            self._scaler.size_changed(group)
        else:  # also a size that was refused a while ago; it does not depend on the backlog
            await self._scaler.settle(group, None)
