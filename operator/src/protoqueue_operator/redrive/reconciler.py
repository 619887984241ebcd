"""Passes a Redrive to the mover until it has finished; then removes its checkpoints, and after its TTL itself."""

from collections.abc import Callable
from datetime import datetime

from protoqueue_operator.api.v1alpha1.errors import BrokerRefused, BrokerUnavailable, QueueNotFound, QueueNotReady
from protoqueue_operator.api.v1alpha1.labels import FINALIZER
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Redrive
from protoqueue_operator.api.v1alpha1.redrive import RedriveSpec
from protoqueue_operator.redrive import checkpoints
from protoqueue_operator.redrive import redrive_conditions as conditions
from protoqueue_operator.redrive.mover import Mover
from protoqueue_operator.redrive.state import Turns
from protoqueue_operator.runtime.cache import Cache
from protoqueue_operator.runtime.client import Conflict, Gone, Kubernetes
from protoqueue_operator.runtime.deletion import Deletion, how_to_abandon
from protoqueue_operator.runtime.finalizers import Finalizers
from protoqueue_operator.runtime.status_writer import StatusWriter
from protoqueue_operator.runtime.workqueue import Requeue

_MOVING_AGAIN_S = 0.1
_LOOK_AGAIN_S = 1.0


class RedriveReconciler:
    def __init__(
        self,
        *,
        kubernetes: Kubernetes,
        redrives: Cache[Redrive],
        mover: Mover,
        turns: Turns,
        finalizers: Finalizers,
        deletion: Deletion,
        status: StatusWriter,
        now: Callable[[], datetime],
    ) -> None:
        self._kubernetes = kubernetes
        self._redrives = redrives
        self._mover = mover
        self._turns = turns
        self._finalizers = finalizers
        self._deletion = deletion
        self._status = status
        self._now = now

    async def reconcile(self, redrive: Redrive) -> Requeue | None:
        """Raises ApiError."""
        if redrive.meta.deleting_since or redrive.status.is_finished:
            self._mover.work.add(redrive.meta.key)  # which ends what is under way
            if FINALIZER in redrive.meta.finalizers and (again := await self._let_go(redrive)):
                return again
            return None if redrive.meta.deleting_since else await self._delete_in_time(redrive)
        if isinstance(redrive.spec, RedriveSpec) and not redrive.spec.dry_run:
            await self._finalizers.add(redrive.meta)  # before anything is stored that must be removed with it
        self._mover.work.add(redrive.meta.key)
        return None

    def refuse(self, redrive: Redrive, reason: str, message: str) -> None:
        """Report in the status why nothing is moved."""
        generation = redrive.meta.generation
        said = conditions.going(generation, reason, message, working=False)
        self._status.report(redrive, {"observedGeneration": generation}, said)

    def forget(self, key: Key) -> None:
        self._status.forget(key)
        self._mover.work.add(key)  # which ends what is under way
        self._turns.forget_others({redrive.queue_key for redrive in self._redrives.values()})

    async def _let_go(self, redrive: Redrive) -> Requeue | None:
        """Remove its checkpoints, once settled, and the finalizer. Raises ApiError."""
        if redrive.meta.is_abandoned and redrive.meta.deleting_since:
            await self._deletion.abandon(redrive)
            return None
        if self._mover.work.is_serving(redrive.meta.key):
            return Requeue(_MOVING_AGAIN_S)
        try:
            place = self._mover.place_of(redrive)
            turn = self._turns.of(redrive.queue_key)
            async with turn.lock:
                await checkpoints.settle(place, turn, {each.meta.uid for each in self._redrives.values()})
                await checkpoints.remove(place, redrive.meta.uid)
        except QueueNotFound:  # what was stored goes with its streams
            pass
        except QueueNotReady:
            if not await self._gives_up(redrive):
                return Requeue(_LOOK_AGAIN_S)
        except (BrokerUnavailable, BrokerRefused) as error:
            if not await self._gives_up(redrive):
                self._say_stuck(redrive, error)
                return Requeue()
            self._deletion.leave_behind(redrive, f"its checkpoint in NATS was left behind: {error}")
        await self._deletion.finish(redrive)
        return None

    async def _gives_up(self, redrive: Redrive) -> bool:
        return redrive.meta.deleting_since is not None and await self._deletion.gives_up_waiting(redrive)

    def _say_stuck(self, redrive: Redrive, error: BrokerUnavailable | BrokerRefused) -> None:
        if redrive.meta.deleting_since:
            self.refuse(redrive, error.reason, f"cannot remove the checkpoint: {error}; {how_to_abandon(redrive)}")

    async def _delete_in_time(self, redrive: Redrive) -> Requeue | None:
        """Raises ApiError."""
        spec, finished_at = redrive.spec, redrive.status.completion_time
        if not isinstance(spec, RedriveSpec) or spec.ttl_after_finished is None or finished_at is None:
            return None
        left_s = (finished_at + spec.ttl_after_finished - self._now()).total_seconds()
        if left_s > 0:
            return Requeue(left_s)
        try:
            await self._kubernetes.delete(redrive.meta.key, redrive.meta.uid)
        except (Conflict, Gone):
            return None
        return None
