"""Brings a group's workers to the size decided, through the scale subresource."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec, ScaleTarget
from protoqueue_operator.api.v1alpha1.deployment import Deployment
from protoqueue_operator.api.v1alpha1.labels import worker_selector
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group
from protoqueue_operator.api.v1alpha1.text import counted
from protoqueue_operator.autoscaling.decision import Decision, History, Load, Policy, decide, resized
from protoqueue_operator.autoscaling.deletion_cost import DeletionCosts
from protoqueue_operator.autoscaling.load import ConsumerState, has_work, load_of
from protoqueue_operator.autoscaling.scale_target import ScaleTargets
from protoqueue_operator.autoscaling.scaling_conditions import contended, scaling, uncontended
from protoqueue_operator.autoscaling.shared_target import Wish, largest
from protoqueue_operator.autoscaling.state import GroupState, GroupStates, LastApplied, Size
from protoqueue_operator.autoscaling.target_claims import TargetClaims, named_target
from protoqueue_operator.autoscaling.throttles import said
from protoqueue_operator.runtime.cache import Cache
from protoqueue_operator.runtime.client import ApiError, Kubernetes
from protoqueue_operator.runtime.event_recorder import EventRecorder
from protoqueue_operator.runtime.status_writer import StatusWriter
from protoqueue_operator.timeseries.store import Resized

logger = logging.getLogger(__name__)

CONTENDED_FOR_S = 600.0
"""How long after another writer's last change of a size the status reports that writer."""

REFUSED_FOR_S = 10.0
"""How long a refused size is not requested again."""


class Executor:
    """The only writer of sizes; one group is scaled by one caller at a time."""

    def __init__(
        self,
        kubernetes: Kubernetes,
        deployments: Cache[Deployment],
        states: GroupStates,
        claims: TargetClaims,
        targets: ScaleTargets,
        deletion_costs: DeletionCosts,
        status: StatusWriter,
        events: EventRecorder,
        resized: Callable[[Resized], None],
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        """`resized` is called with each change of a size."""
        self._kubernetes = kubernetes
        self._deployments = deployments
        self._states = states
        self._claims = claims
        self._targets = targets
        self._deletion_costs = deletion_costs
        self._status = status
        self._events = events
        self._resized = resized
        self._now = now
        self._monotonic = monotonic

    def known_size(self, group: Group, state: GroupState) -> Size | None:
        """The size as known without a request; None if there is nothing to scale, or not yet."""
        worker = state.last_applied.spec.worker if state.last_applied else None
        if worker is None:
            return None
        if worker.scale_target_ref is not None:
            seen = state.scale
            if seen is None or seen.replicas is None or seen.target != worker.scale_target_ref:
                return None
            available = None if state.available is None else min(state.available, seen.observed)
            return Size(seen.replicas, seen.observed, available, seen.selector)
        deployment = self._deployments.get(_deployment_key(group))
        if deployment is None or deployment.controller_uid != group.meta.uid:
            return None
        return Size(
            deployment.replicas,
            deployment.observed_replicas,
            deployment.available_replicas,
            worker_selector(group.meta.name),
            is_own=True,
        )

    async def group_applied(self, group: Group, backlog: ConsumerState) -> None:
        """Scale a group that was just applied with this backlog.

        With workers, a single answer is not enough to conclude that no task is left: sampling reads more than once.
        """
        state = self._states.of(group)
        if not state.last_applied:
            return
        self._tell_of_others(group, state)
        is_new = group.status.condition("Scaling") is None
        if is_new or not state.last_applied.spec.autoscale or has_work(backlog):
            await self.scale(group, self.load(group, backlog, is_active=False))

    def load(self, group: Group, backlog: ConsumerState, *, is_active: bool) -> Load:
        """The load of an applied group, and its workers."""
        state = self._states.of(group)
        assert state.last_applied
        size = self.known_size(group, state)
        return load_of(
            backlog,
            state.rates,
            paused=state.last_applied.paused,
            ready=size.available if size else None,
            is_active=is_active,
            limit="ordering.partitions" if state.last_applied.is_ordered else "maxInFlight",
            throttled=said(state.throttle) if state.throttle and state.throttle.until > self._now() else "",
        )

    def report_size(self, group: Group) -> None:
        """The watch has seen workers appear or disappear."""
        state = self._states.of(group)
        if size := self.known_size(group, state):
            self._report(group, size, size.wanted, None)

    async def scale(self, group: Group, load: Load | None) -> int | None:
        """Decide and scale; returns the wanted size, None if nothing can be scaled. Raises nothing.

        A `load` of None is an unknown backlog.
        """
        state = self._states.of(group)
        applied = state.last_applied
        if applied is None:
            return None
        if applied.spec.worker is None:
            self._say_unscaled(group, "spec.worker is not set: workers run elsewhere")
            return None
        if taken := self._claims.taken_by_another(group):
            self._say_unscaled(group, str(taken))
            return None
        partners = self._claims.partners_of(group)
        async with state.lock, self._targets.turn(group):
            size = await self._size(group, state)
            if size is None:
                state.written = None
                return None
            await self._notice_others(group, size, state)
            decision = self._decide(applied, load, size, state)
            state.wish = _wish(applied.spec, decision)
            decision = self._of_all(group, decision, size, state, partners)
            if decision.replicas != size.wanted and (
                _was_refused(state, self._monotonic())
                or not await self._write_size(group, applied.spec, size, decision, state, partners)
            ):
                return size.wanted
            state.history = decision.history
        generation = applied.generation or group.meta.generation
        condition = scaling(generation, decision.reason, decision.message)
        self._report(group, size, decision.replicas, _untold_first(group, condition, state))
        return decision.replicas

    def _decide(self, applied: LastApplied, load: Load | None, size: Size, state: GroupState) -> Decision:
        spec = applied.spec
        if spec.autoscale is None:
            return _fixed(spec.replicas, size.wanted, state.history)
        decision = decide(Policy.of(spec.autoscale), load, size.wanted, state.history, self._now())
        # Otherwise the status would say that there is no work while tasks wait.
        return replace(decision, message=f"paused: {decision.message}") if applied.paused else decision

    def _of_all(
        self, group: Group, decision: Decision, size: Size, state: GroupState, partners: Sequence[Group]
    ) -> Decision:
        """What is decided together with those that share the target."""
        if not partners:
            return decision
        wishes = [Wish(each.meta.name, self._states.of(each).wish) for each in partners]
        return largest(decision, size.wanted, wishes, str(named_target(group)), state.history)

    async def _size(self, group: Group, state: GroupState) -> Size | None:
        assert state.last_applied
        await self._targets.observe(group, state.last_applied.spec, state)
        if state.scale and state.scale.trouble:
            self._complain(group, state.scale.trouble)
        return self.known_size(group, state)

    async def _write_size(
        self, group: Group, spec: ConsumerGroupSpec, size: Size, decision: Decision, state: GroupState,
        partners: Sequence[Group],
    ) -> bool:  # fmt: skip
        assert spec.worker
        target = spec.worker.scale_target_ref or ScaleTarget(name=group.meta.name)
        shared_by = [self._states.of(each) for each in partners]
        for each in (state, *shared_by):
            each.attempted = decision.replicas
        # A StatefulSet removes its last pod, busy or not.
        if 0 < decision.replicas < size.observed and size.selector and target.kind != "StatefulSet":
            await self._deletion_costs.write(group, size.selector, size.observed, partners)
        try:
            answer = await self._kubernetes.set_scale(
                target.api_version, target.kind, group.meta.namespace, target.name, decision.replicas
            )
        except ApiError as error:
            logger.warning("scaling failed: object=%s error=%s; retrying", group.meta.key, error)
            if error.is_refusal:
                state.refused_at = self._monotonic()
                self._complain(group, f"{target.kind} {target.name} cannot be scaled: {error}")
            return False
        self._remember(group, spec, answer["metadata"].get("resourceVersion", ""), decision.replicas, state)
        for each in shared_by:
            each.written = decision.replicas
            each.scale = replace(each.scale, replicas=decision.replicas) if each.scale else None
        logger.info(
            "scaled: object=%s from=%d to=%d reason=%s",
            group.meta.key,
            size.wanted,
            decision.replicas,
            decision.message,
        )
        self._resized(Resized(group, size.wanted, decision.replicas, decision.reason, decision.message))
        kind = "ScaledUp" if decision.replicas > size.wanted else "ScaledDown"
        message = decision.message if decision.reason == kind else resized(size.wanted, decision.replicas)
        self._events.event(group.meta, "Normal", kind, message)
        return True

    def _remember(self, group: Group, spec: ConsumerGroupSpec, version: str, replicas: int, state: GroupState) -> None:
        """Remember the written size at once, before the watch reports it."""
        state.written = replicas
        if spec.worker and spec.worker.scale_target_ref:
            if state.scale:
                state.scale = replace(state.scale, replicas=replicas)
            return
        key = _deployment_key(group)
        if deployment := self._deployments.get(key):
            self._deployments.put(
                replace(deployment, replicas=replicas, meta=replace(deployment.meta, resource_version=version))
            )

    def report_unknown(self, group: Group) -> None:
        """Report that the scaling settings are unknown: the earlier status is no longer true."""
        if group.status.condition("Scaling"):
            message = "the spec is invalid and no earlier valid spec is known: keeping the current number of workers"
            self._status.report(group, {}, [scaling(group.meta.generation, "SpecRefused", message)])

    def contended_for_s(self, group: Group) -> float:
        """Seconds until the status stops reporting another writer of the group's size; 0 if there is none."""
        state = self._states.of(group)
        return state.contended_at + CONTENDED_FOR_S - self._monotonic() if state.contender else 0.0

    async def _notice_others(self, group: Group, size: Size, state: GroupState) -> None:
        """Another writer has changed the size: once that is settled, the decision follows and undoes it."""
        known, state.written = (state.written, state.attempted), size.wanted
        if known[0] is None or size.wanted in known:
            return
        state.contender, state.contended_at = (
            await self._targets.sized_by(group, size, state),
            self._monotonic(),
        )
        self._tell_of_others(group, state)

    def _tell_of_others(self, group: Group, state: GroupState) -> None:
        """Report other writers of the size, and writes without effect, once each."""
        if state.contender and self.contended_for_s(group) <= 0:
            state.contender = ""
        before = group.status.condition("Contended")
        condition = contended(group, state.contender)
        if condition is None and (before is None or before.status == "False"):
            return
        condition = condition or uncontended(group.meta.generation)
        if condition.status == "True" and (before is None or before.status != "True") and not state.contention_told:
            self._events.event(group.meta, "Warning", condition.reason, condition.message)
        state.contention_told = condition.status == "True"
        self._status.report(group, {}, [condition])

    def _say_unscaled(self, group: Group, why: str) -> None:
        """Report that the group sizes nothing."""
        nobody = dict.fromkeys(("replicas", "availableReplicas", "desiredReplicas", "selector"))
        condition = scaling(group.meta.generation, "Disabled", why)
        self._status.report(group, nobody, [condition], urgent=False)

    def _complain(self, group: Group, message: str) -> None:
        self._status.report(group, {}, [scaling(group.meta.generation, "TargetNotFound", message)])

    def _report(self, group: Group, size: Size, wanted: int, condition: Condition | None) -> None:
        """Written at once: a size that a user has requested, the first condition Scaling, and a change of its status.

        The rest, sizes included, follows from the backlog and is written with the counters.
        """
        fields = {
            "replicas": size.observed,
            "availableReplicas": size.available,
            "desiredReplicas": wanted,
            "selector": size.selector,
        }
        before = group.status.condition("Scaling")
        asked_for = not _is_autoscaled(group) or group.status.observed_generation != group.meta.generation
        urgent = asked_for or (condition is not None and (before is None or before.status != condition.status))
        self._status.report(group, fields, [condition] if condition else [], urgent=urgent)


def _fixed(stated: int | None, current: int, history: History) -> Decision:
    """Without autoscale. A size that is not stated stays as it is: workers are not ended."""
    if stated is None:
        message = f"neither spec.autoscale nor spec.replicas is set: keeping {counted(current, 'worker')}"
        return Decision(current, "Disabled", message, history)
    return Decision(stated, "Disabled", "spec.autoscale is not set: using spec.replicas", history)


def _wish(spec: ConsumerGroupSpec, decision: Decision) -> int:
    """What a group wants of an object that it shares: nothing where it states no size."""
    return 0 if spec.autoscale is None and spec.replicas is None else decision.replicas


def _was_refused(state: GroupState, now: float) -> bool:
    """Whether it was refused recently: retrying with every sample would be too often."""
    return state.refused_at is not None and now - state.refused_at <= REFUSED_FOR_S


def _untold_first(group: Group, condition: Condition, state: GroupState) -> Condition:
    """The message: about a change of size before its consequences, which usually show before a status is written."""
    if condition.reason in ("ScaledUp", "ScaledDown"):
        state.resized = condition
    elif condition.reason not in ("Stable", "Idle") or (state.resized and _is_told(group, state.resized)):
        state.resized = None
    return state.resized or condition


def _is_told(group: Group, condition: Condition) -> bool:
    """Whether the status shows this; that of an earlier generation does not need to be shown."""
    shown = group.status.condition("Scaling")
    is_shown = bool(shown and (shown.reason, shown.message) == (condition.reason, condition.message))
    return is_shown or condition.observed_generation != group.meta.generation


def _is_autoscaled(group: Group) -> bool:
    return isinstance(group.spec, ConsumerGroupSpec) and group.spec.autoscale is not None


def _deployment_key(group: Group) -> Key:
    return Key("Deployment", group.meta.namespace, group.meta.name)
