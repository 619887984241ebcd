"""Moves dead letters, for a few Redrives at a time, which take turns."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.errors import (
    BrokerRefused,
    BrokerUnavailable,
    InvalidSpec,
    QueueNotFound,
    QueueNotReady,
)
from protoqueue_operator.api.v1alpha1.labels import FINALIZER
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Queue, Redrive
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.api.v1alpha1.redrive import RedriveSpec
from protoqueue_operator.api.v1alpha1.status import Fields
from protoqueue_operator.api.v1alpha1.validation import valid_redrive_spec
from protoqueue_operator.jetstream.broker import Broker
from protoqueue_operator.jetstream.layout import Layout
from protoqueue_operator.redrive import redrive_conditions as conditions
from protoqueue_operator.redrive.checkpoint import Checkpoint
from protoqueue_operator.redrive.checkpoints import Place
from protoqueue_operator.redrive.run import Run, Step, Superseded
from protoqueue_operator.redrive.state import Turns
from protoqueue_operator.runtime.cache import Cache
from protoqueue_operator.runtime.client import ApiError, Gone, Kubernetes
from protoqueue_operator.runtime.event_recorder import EventRecorder
from protoqueue_operator.runtime.status_writer import StatusWriter
from protoqueue_operator.runtime.workqueue import Observer, Requeue, WorkQueue

logger = logging.getLogger(__name__)

_WORKERS = 4
_SHARE = 2
"""How many of them the Redrives of one namespace share."""

_SLICE_S = 0.5
_NOT_READY_AGAIN_S = 1.0
_UNAVAILABLE_LONGEST_S = 10.0


class Mover:
    """`known_broker` and `layout` return where a queue lives and its tasks are stored; None while unknown."""

    def __init__(
        self,
        *,
        kubernetes: Kubernetes,
        redrives: Cache[Redrive],
        queues: Mapping[Key, Queue],
        known_broker: Callable[[Key], Broker | None],
        layout: Callable[[Key], Layout | None],
        is_taken_over: Callable[[Key], bool],
        turns: Turns,
        status: StatusWriter,
        events: EventRecorder,
        observer: Observer,
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
    ) -> None:
        self._kubernetes = kubernetes
        self._redrives = redrives
        self._queues = queues
        self._known_broker = known_broker
        self._layout = layout
        self._is_taken_over = is_taken_over
        self._turns = turns
        self._status = status
        self._events = events
        self._now = now
        self._monotonic = monotonic
        self._runs: dict[Key, Run] = {}
        self._known: dict[str, Checkpoint] = {}
        """By uid, the progress of each whose run was interrupted."""
        self._said: dict[Key, tuple[float, float, str | None]] = {}
        """Of each, since when it runs, when its counts were last reported, and the reported reason for waiting."""
        self.work: WorkQueue[Key] = WorkQueue(self._serve, _WORKERS, observer, lambda key: key.namespace, _SHARE)

    def place_of(self, redrive: Redrive) -> Place:
        """Raises QueueNotFound and QueueNotReady."""
        key, field = redrive.queue_key, "spec.queueRef.name"
        queue = self._queues.get(key)
        if queue is None:
            raise QueueNotFound(
                f"there is no Queue {key.name} in namespace {key.namespace}: create it, or correct the name",
                field=field,
            )
        if queue.meta.deleting_since:
            raise QueueNotFound(f"the Queue {key.name} is being deleted", field=field)
        broker, layout = self._known_broker(key), self._layout(key)
        if broker is None or layout is None or self._is_taken_over(key) or not isinstance(queue.spec, QueueSpec):
            ready = queue.status.condition("Ready")
            why = f": {ready.message}" if ready and ready.status != "True" and ready.message else ""
            raise QueueNotReady(f"the Queue {key.name} is not ready{why}", field=field)
        return Place(broker, queue, queue.spec, layout)

    async def stop(self) -> None:
        await self.work.stop()
        for key in list(self._runs):
            await self._end(key)

    async def _serve(self, key: Key) -> Requeue | None:
        redrive = self._redrives.get(key)
        if redrive is None or redrive.meta.deleting_since or redrive.status.is_finished:
            await self._end(key, is_to_go_on=False)
            return None
        try:
            spec = valid_redrive_spec(redrive)
            if spec.suspend:
                await self._end(key)
                self._report(redrive, {}, self._going(redrive, "Suspended", "spec.suspend is true", working=False))
                return None
            return await self._work(redrive, spec, self.place_of(redrive))
        except InvalidSpec as error:
            await self._end(key)
            self._report(redrive, {}, conditions.gave_up(redrive.meta.generation, error.reason, str(error)))
            return None
        except QueueNotFound as error:
            await self._end(key)
            return await self._without_queue(redrive, error)
        except QueueNotReady as error:
            await self._end(key)
            self._report(redrive, {}, self._going(redrive, error.reason, str(error), working=False))
            return Requeue(_NOT_READY_AGAIN_S)
        except (BrokerUnavailable, BrokerRefused) as error:
            await self._interrupt(redrive)
            self._report(redrive, {}, self._going(redrive, error.reason, str(error), working=False))
            return Requeue(longest_s=_UNAVAILABLE_LONGEST_S)
        except Superseded as error:
            logger.info("redrive begun anew: redrive=%s reason=%s", key, error)
            await self._interrupt(redrive)
            return Requeue(longest_s=_UNAVAILABLE_LONGEST_S)
        except Exception:
            await self._interrupt(redrive)
            raise

    async def _work(self, redrive: Redrive, spec: RedriveSpec, place: Place) -> Requeue | None:
        """Run it for one turn; another generation starts again. Raises what a run does."""
        key, until = redrive.meta.key, self._monotonic() + _SLICE_S
        run = await self._run(redrive, spec, place)
        while True:
            if run.checkpoint is None:
                fields = {"startTime": conditions.moment(self._now())} if redrive.status.start_time is None else {}
                said = self._going(redrive, "Counting", "counting the dead letters that match", working=True)
                self._report(redrive, fields, said)
            elif not spec.dry_run and FINALIZER not in redrive.meta.finalizers:
                return None  # store nothing that would not be removed with it: the reconciler adds the finalizer
            step = await run.step()
            if run.checkpoint is not None:
                self._tell(redrive, spec, run.checkpoint, step)
            if step.is_done:
                await self._end(key, is_to_go_on=False)
                return None
            current = self._redrives.get(key)
            if current is None or current.meta.deleting_since or current.meta.generation != redrive.meta.generation:
                return Requeue(0.0)
            redrive = current
            if step.wait_s or self._monotonic() > until:
                return Requeue(step.wait_s)

    async def _run(self, redrive: Redrive, spec: RedriveSpec, place: Place) -> Run:
        """The current run, or one that continues from where the last one ended."""
        key = redrive.meta.key
        run = self._runs.get(key)
        if run and run.place != place:
            await self._end(key)
            run = None
        if run:
            run.follow(spec)
            return run
        known = self._known.get(redrive.meta.uid) or _told(redrive)
        run = Run(
            redrive, spec, place, self._turns.of(redrive.queue_key), known,
            redrives=self._uids, now=self._now, monotonic=self._monotonic,
        )  # fmt: skip
        await run.open()
        self._runs[key] = run
        return run

    def _uids(self) -> set[str]:
        return {redrive.meta.uid for redrive in self._redrives.values()}

    async def _interrupt(self, redrive: Redrive) -> None:
        """Something was started, and it is unknown whether it was done."""
        await self._end(redrive.meta.key)
        self._turns.doubt(redrive.queue_key)

    async def _end(self, key: Key, *, is_to_go_on: bool = True) -> None:
        run, redrive = self._runs.pop(key, None), self._redrives.get(key)
        if run:
            await run.close()
        if redrive and is_to_go_on and run and run.checkpoint:
            self._known[redrive.meta.uid] = run.checkpoint
        if not is_to_go_on:
            self._said.pop(key, None)
            for uid in self._known.keys() - self._uids():
                del self._known[uid]

    async def _without_queue(self, redrive: Redrive, error: QueueNotFound) -> Requeue | None:
        """Report that its queue is missing: wait for one that never existed; the letters of a deleted one are gone.

        Raises nothing.
        """
        if redrive.status.last_sequence is None:
            self._report(redrive, {}, self._going(redrive, error.reason, str(error), working=False))
            return None
        try:
            body = await self._kubernetes.get(redrive.queue_key)
        except Gone:
            body = {"metadata": {"deletionTimestamp": "gone"}}
        except ApiError:
            return Requeue()
        if not body["metadata"].get("deletionTimestamp"):  # the watch of Redrives is ahead of that of Queues
            return Requeue(_NOT_READY_AGAIN_S)
        fields: Fields = {
            "observedGeneration": redrive.meta.generation,
            "completionTime": conditions.moment(self._now()),
        }
        why = f"the Queue was deleted before all was moved: {error}"
        self._report(redrive, fields, conditions.gave_up(redrive.meta.generation, "QueueDeleted", why))
        return None

    def _tell(self, redrive: Redrive, spec: RedriveSpec, checkpoint: Checkpoint, step: Step) -> None:
        """Report its progress: changes at once, counts periodically."""
        key, generation, now = redrive.meta.key, redrive.meta.generation, self._monotonic()
        if step.is_done:
            fields = conditions.finished_fields(checkpoint, spec, generation, self._now())
            said = conditions.finished(checkpoint, spec, generation)
            self._report(redrive, fields, said)
            self._events.event(
                redrive.meta, "Warning" if checkpoint.failed else "Normal", said[0].reason, said[0].message
            )
            return
        since, told_at, told = self._said.get(key, (now, 0.0, None))
        if told == step.reason and now - told_at < conditions.write_interval_s(now - since):
            return
        self._said[key] = since, now, step.reason
        said = self._going(redrive, "Redriving", "putting dead letters back into the queue", working=True)
        if step.reason:
            said = self._going(redrive, step.reason, step.message, working=False)
        self._report(redrive, conditions.progress_fields(checkpoint, spec, generation), said)

    def _going(self, redrive: Redrive, reason: str, message: str, *, working: bool) -> list[Condition]:
        return conditions.going(redrive.meta.generation, reason, message, working=working)

    def _report(self, redrive: Redrive, fields: Fields, said: list[Condition]) -> None:
        self._status.report(redrive, {"observedGeneration": redrive.meta.generation} | fields, said)


def _told(redrive: Redrive) -> Checkpoint | None:
    """Its progress according to the status: only used without a checkpoint, as before the first batch."""
    status = redrive.status
    if status.start_time is None or status.last_sequence is None or status.matched is None:
        return None
    return replace(
        Checkpoint(status.start_time, status.last_sequence, status.matched),
        position=status.position or 0,
        moved=status.moved or 0,
        failed=status.failed or 0,
        leaves_letters=True,
    )
