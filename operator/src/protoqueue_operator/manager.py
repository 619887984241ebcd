"""The running operator: starting, wiring and stopping its parts, and reporting their health."""

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from protoqueue.aio import cancel
from protoqueue_operator.api.v1alpha1.kinds import WATCHED_KINDS
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.autoscaling.resource_metrics import ResourceMetrics
from protoqueue_operator.autoscaling.sampler import Sampler
from protoqueue_operator.caches import Caches
from protoqueue_operator.jetstream.broker import Broker, Brokers
from protoqueue_operator.nats.reload import reload
from protoqueue_operator.runtime.client import ApiError, Kubernetes
from protoqueue_operator.runtime.health import MonitoringServer
from protoqueue_operator.runtime.leader_election import Election
from protoqueue_operator.runtime.metrics import Gauges, Metrics
from protoqueue_operator.runtime.open_watches import OpenWatches, WatchStream
from protoqueue_operator.runtime.resync import Resync, granted_namespaces
from protoqueue_operator.runtime.workqueue import WorkQueue
from protoqueue_operator.settings import Settings
from protoqueue_operator.watch_events import WatchEvents
from protoqueue_operator.wiring import Wiring, make_status_writer

logger = logging.getLogger(__name__)

_WATCHING_WITHIN_S = 6.0
"""If kopf gets no answer for this long although the API server answers, kopf has given up."""
_LOOK_S = 0.2
_DISCONNECTED_AFTER_S = 3.0
"""A shorter loss of the connection is not reported in the objects' status."""

_REFUSED_AGAIN_S = 10.0
_SAID_AGAIN = 30
"""How many times an unlistable namespace is retried before it is logged again."""

_STALLED_AFTER_S = 60.0
_BEHIND_AFTER_S = 90.0
"""kopf restarts a hanging watch before that."""


class Manager:
    """Starts and stops everything, and reports whether it runs.

    It starts once and ends once: after a failure, or the loss of its Lease, a new one replaces it.
    """

    def __init__(
        self,
        settings: Settings,
        kubernetes: Kubernetes,
        halt: Callable[[], None],
        refused: Mapping[str, str] | None = None,
    ) -> None:
        """`halt` stops all of it, kopf's part too.

        `refused` are configured namespaces that it may not list, and why: once it may, it restarts.
        """
        self._refused = refused or {}
        self._kubernetes = kubernetes
        self._halt = halt
        self.has_started = False
        self.ended_because: str | None = None
        """Why it has to restart; None if it was asked to stop."""
        self._settings = settings
        self._metrics = Metrics()
        caches = Caches()
        self._brokers = Brokers(settings.credentials, kubernetes, self, Broker.over)
        self._status, self._events = make_status_writer(kubernetes, caches, _now, self._metrics)
        self._wiring = Wiring(
            kubernetes, caches, self._brokers, self._status, self._events, self._metrics,
            worker_nats_url=settings.worker_nats_url,
            max_bytes_per_namespace=settings.max_bytes_per_namespace,
            target_period_s=settings.target_period_s,
            now=_now,
            monotonic=time.monotonic,
        )  # fmt: skip
        self.watch_events = WatchEvents(caches, self._wiring, self._status)
        self.resync = Resync(kubernetes, WATCHED_KINDS, settings.namespaces, self.watch_events)
        self.open_watches = OpenWatches([kind.plural for kind in WATCHED_KINDS], settings.namespaces)
        self._register_metrics(caches)
        self._is_leading = False
        self._is_stopping = False
        self._election: Election | None = None
        self._starting: asyncio.Task[None] | None = None
        self._comparing: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._pollers: tuple[asyncio.Task[None], ...] = ()
        self._reloading: asyncio.Task[None] | None = None
        self._monitoring: MonitoringServer | None = None
        self._samplers: dict[Broker, tuple[Sampler, asyncio.Task[None]]] = {}
        self._disconnect_timers: dict[Broker, asyncio.TimerHandle] = {}

    def _register_metrics(self, caches: Caches) -> None:
        self._metrics.registry.register(
            ResourceMetrics(
                caches.queues,
                caches.groups,
                fields_of=self._status.fields_of,
                stored=self._wiring.stored,
                is_leader=lambda: self._is_leading,
                now=_now,
            )
        )
        work: dict[str, WorkQueue[Any]] = {
            "reconcile": self._wiring.controller.work,
            "redrive": self._wiring.mover.work,
            "status": self._status.writes,
            "events": self._events.sends,
        }
        self._metrics.registry.register(
            Gauges(
                work_queues=work,
                sample_age_s=self.stalled_for_s,
                watches_behind_s=self.resync.behind_for_s,
                nats_is_up=self._nats_is_up,
                is_leader=lambda: self._is_leading,
            )
        )

    async def start(self) -> None:
        """Raises OSError where the monitoring port is taken."""
        settings = self._settings
        if settings.monitoring_url:
            self._monitoring = MonitoringServer(
                settings.monitoring_url, self._metrics.registry, self.trouble, self.not_ready
            )
            await self._monitoring.start()
        # A standby is already connected: a new leader must not find NATS away.
        self._brokers.start()
        self._comparing = asyncio.create_task(self.resync.run(settings.sync_period_s), name="watches")
        if read := settings.read_credentials:
            self._reloading = asyncio.create_task(reload(read, self._brokers.reload), name="own credentials")
        if self._refused:
            self._asking = asyncio.create_task(self._ask_for_refused(), name="refused namespaces")
        self._starting = asyncio.create_task(self._start_acting(), name="start")
        self.has_started = True

    async def _start_acting(self) -> None:
        """Once every watch is open, stand for election, or act at once without a Lease."""
        while missing := self.open_watches.missing():
            await asyncio.sleep(_LOOK_S)
            if self.open_watches.quiet_for_s() > _WATCHING_WITHIN_S and await self._api_answers():
                self._fail(f"not watched although the API server lists them: {_listed(missing)}")
                return
        logger.info("watching: kinds=%s", ",".join(kind.plural for kind in WATCHED_KINDS))
        settings = self._settings
        if settings.lease is None:
            self._begin()
            await asyncio.Event().wait()
            return
        self._election = Election(
            self._kubernetes,
            settings.lease,
            settings.identity,
            self._begin,
            lambda: self._fail("another replica may lead"),
            lambda: not self.open_watches.missing(),
        )
        await self._election.run()

    async def _ask_for_refused(self) -> None:
        """Log which namespaces are not served, and restart when one of them can be."""
        for number in itertools.count():
            if number % _SAID_AGAIN == 0:
                for name, why in self._refused.items():
                    logger.warning(
                        "namespace not served: namespace=%s error=%s; grant the operator access, or remove it from "
                        "--namespace",
                        name,
                        why,
                    )
            await asyncio.sleep(_REFUSED_AGAIN_S)
            if granted := await granted_namespaces(self._kubernetes, WATCHED_KINDS, tuple(self._refused)):
                self._fail(f"namespaces can be served now: {', '.join(granted)}")
                return

    async def _api_answers(self) -> bool:
        """Whether everything to be watched can be listed. If not, a restart would not help."""
        try:
            for kind in WATCHED_KINDS:
                for namespace in self._settings.namespaces or (None,):
                    await self._kubernetes.first_page(kind.name, namespace, kind.selector)
        except ApiError as error:
            logger.warning("watches not open yet: status=%s error=%s; retrying", error.status, error)
            await asyncio.sleep(_LOOK_S * 10)
            return False
        return True

    def _begin(self) -> None:
        """Act as leader. What the watches have seen so far is already in the work queue."""
        self._is_leading = True
        self._status.start()
        self._events.start()
        for broker in list(self._brokers.opened()):
            self._sample(broker)
        self._wiring.controller.work.start()
        self._wiring.mover.work.start()
        self._pollers = (
            asyncio.create_task(self._wiring.secret_poller.run(), name="secrets"),
            asyncio.create_task(self._wiring.target_poller.run(), name="targets"),
        )

    def part_ended(self, task: "asyncio.Task[Any]") -> None:
        """One of kopf's tasks has ended: the others may go on, but no longer see anything."""
        if not task.cancelled() and (error := task.exception()):
            self._fail(f"{task.get_name()}: {error!r}")

    def _fail(self, why: str) -> None:
        """Stop acting immediately; everything else ends afterwards."""
        if self._is_stopping:
            return
        self._is_stopping, self._is_leading, self.ended_because = True, False, why
        self._wiring.controller.work.cancel()
        self._wiring.mover.work.cancel()
        self._status.cancel()
        self._events.cancel()
        for task in filter(
            None, (self._reloading, self._asking, *self._pollers, *(task for _, task in self._samplers.values()))
        ):
            task.cancel()
        self._halt()

    async def stop(self) -> None:
        self._is_stopping = True
        for task in self._long_running():
            task.cancel()
        await cancel(*(task for _, task in self._samplers.values()))
        await self._wiring.controller.work.stop()
        await self._wiring.mover.stop()
        await self._status.stop()
        await self._events.stop()
        await self._brokers.stop()
        if self._election:
            await self._election.resign()
        if self._monitoring:
            await self._monitoring.stop()
        await self._kubernetes.close()
        self._halt()

    def broker_opened(self, broker: Broker) -> None:
        """A connection is opened: from now on the leader samples its queues."""
        if self._is_leading:
            self._sample(broker)

    def _sample(self, broker: Broker) -> None:
        sampler = self._wiring.sampler(broker)
        self._samplers[broker] = sampler, asyncio.create_task(sampler.run(), name="sampler")

    def broker_changed(self, broker: Broker, is_up: bool) -> None:
        """A connection was established or lost."""
        if timer := self._disconnect_timers.pop(broker, None):
            timer.cancel()
        if is_up:
            broker.configs.doubt()
            self._wiring.requeue_all_of(broker)
        else:
            loop = asyncio.get_running_loop()
            self._disconnect_timers[broker] = loop.call_later(
                _DISCONNECTED_AFTER_S, self._wiring.requeue_all_of, broker
            )

    def broker_closed(self, broker: Broker) -> None:
        """The connection is no longer needed."""
        if timer := self._disconnect_timers.pop(broker, None):
            timer.cancel()
        if sampling := self._samplers.pop(broker, None):
            sampling[1].cancel()

    def home_changed(self, queue: Key) -> None:
        """A queue has moved, or is reached by other credentials."""
        self._wiring.requeue(queue)

    def stalled_for_s(self) -> float:
        """Age of the oldest sample of any broker."""
        now = time.monotonic()
        return max((now - sampler.sampled_at for sampler, _ in self._samplers.values()), default=0.0)

    def trouble(self) -> str | None:
        """Why the process should be restarted, or None."""
        if self._is_stopping:
            return None  # it ends, or restarts, by itself
        for task in self._long_running():
            if task.done():
                return f"the task {task.get_name()!r} has ended"
        for broker, (sampler, _) in self._samplers.items():
            # A tenant's NATS may delay its own sampler, but no other.
            stalled_s = time.monotonic() - sampler.sampled_at if broker is self._brokers.own else 0.0
            if stalled_s > _STALLED_AFTER_S:
                return f"no backlog was sampled for {stalled_s:.0f} s"
        if (behind_s := self.resync.behind_for_s()) > _BEHIND_AFTER_S:
            return f"the watches have been behind the API server for {behind_s:.0f} s"
        return None

    def not_ready(self) -> str | None:
        """Why this replica could not act as leader, or None, whether or not it leads."""
        if missing := self.open_watches.missing():
            return f"not watched: {_listed(missing)}"
        return self.ended_because or self.trouble()

    def _long_running(self) -> Iterator[asyncio.Task[None]]:
        """Resources that end with the process, and not before."""
        return filter(None, (self._starting, self._comparing, self._asking, *self._pollers, self._reloading))

    def _nats_is_up(self) -> bool:
        return self._brokers.own.connection.is_up


def _listed(streams: Iterable[WatchStream]) -> str:
    return ", ".join(sorted(f"{plural} in {namespace or 'all namespaces'}" for plural, namespace in streams))


def _now() -> datetime:
    return datetime.now(UTC)
