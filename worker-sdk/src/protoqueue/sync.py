"""The client for code without an event loop: Django, Flask, scripts, plain handlers.

    with protoqueue.sync.connect() as client:
        client.queue("shop/email").enqueue({"to": "ada@example.org"})

Everything has the name, the arguments and the errors of the async client, and returns when the work is done. One thread
of the process runs the event loop of all clients. A client may be used by any number of threads, and in a process that
was forked off, where it connects anew.
"""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, overload

from protoqueue.admin.all_queues import QueueOverview
from protoqueue.admin.dead_letters import DeadLetter as _AsyncLetter
from protoqueue.admin.letter import Letter
from protoqueue.background import BACKGROUND, LoopRunner, Runner, on_fork
from protoqueue.client import Client as _AsyncClient
from protoqueue.connection import connect as _connect
from protoqueue.consumer.lease import Lease as _Lease
from protoqueue.consumer.receive import ReceivedTask as _Received
from protoqueue.errors import ConfigurationError, Unavailable
from protoqueue.queue import Queue as _AsyncQueue
from protoqueue.task import DEFAULT_RESULT_TIMEOUT_S, DEFAULT_TIMEOUT_S, Task
from protoqueue.task import Receipt as _AsyncReceipt

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

__all__ = ["Client", "DeadLetter", "Lease", "Queue", "Receipt", "ReceivedTask", "connect"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_Kind = TypeVar("_Kind")
_Made = TypeVar("_Made")
_Behind = TypeVar("_Behind", covariant=True)


def connect(
    url: str | None = None,
    *,
    creds: str | None = None,
    ca: str | None = None,
    timeout: float | timedelta = DEFAULT_TIMEOUT_S,
    tracer_provider: "TracerProvider | None" = None,
) -> "Client":
    """Connect to NATS. The arguments, what they default to and the errors are those of `protoqueue.connect`."""

    async def opened() -> _AsyncClient:
        return await _connect(url, creds=creds, ca=ca, timeout=timeout, tracer_provider=tracer_provider)

    client = Client(BACKGROUND, opened)
    client.connect()
    return client


class Client:
    """A connection. Close it, or use it as `with protoqueue.sync.connect() as client`."""

    def __init__(
        self, runner: Runner, opened: Callable[[], Coroutine[Any, Any, _AsyncClient]], *, owned: bool = True
    ) -> None:
        self._runner = runner
        self._open = opened
        self._owned = owned
        self._is_closed = False
        self._lock = threading.Lock()
        self._client: _AsyncClient | None = None
        on_fork(self)

    def after_fork(self) -> object:
        """Connect anew when the client is next used: the connection is the parent process's."""
        self._is_closed |= not self._owned  # nobody runs the parent's event loop here
        left, self._client, self._lock = self._client, None, threading.Lock()
        return left

    def connect(self) -> _AsyncClient:
        """The async client behind this one, connected. Raises what `protoqueue.connect` raises."""
        with self._lock:
            if self._is_closed:
                raise Unavailable("this client is closed")
            if self._client is None:
                self._client = self._runner.run(self._open())
            return self._client

    def queue(self, name: str) -> "Queue":
        """The queue `namespace/name`; raises QueueNotFound and, for what is not such a name, ConfigurationError."""
        return Queue(self, name, self.run(lambda client: client.queue(name)).name)

    def queue_names(self) -> list[str]:
        """The queues of this NATS account as `namespace/name`, sorted. Raises Unavailable."""
        return self.run(lambda client: client.queue_names())

    def overview(self, *, timeout: float | timedelta = DEFAULT_TIMEOUT_S) -> dict[str, QueueOverview]:
        """What every queue of this NATS account holds, as `protoqueue.Client.overview`."""
        return self.run(lambda client: client.overview(timeout=timeout))

    def follow_overview(
        self, interval: float | timedelta = 0.5, *, expected: Callable[[], Iterable[str]] = tuple
    ) -> Generator[dict[str, QueueOverview]]:
        """The overview again and again, as `protoqueue.Client.follow_overview`, until the iterator is closed."""
        looks = self.connect().follow_overview(interval, expected=expected)
        try:
            while (found := self.run(lambda _: _next(looks))) is not None:
                yield found
        finally:
            self.run(lambda _: looks.aclose())

    def run(self, call: Callable[[_AsyncClient], Coroutine[Any, Any, _Result]]) -> _Result:
        """What `call` gives for the async client, run where that client lives."""
        return self._runner.run(call(self.connect()))

    def close(self) -> None:
        """Close the connection. What is called after this raises Unavailable."""
        with self._lock:
            client, self._client, self._is_closed = self._client, None, True
        if client is not None and self._owned:
            self._runner.run(client.close())

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def client_of(client: _AsyncClient) -> Client:
    """One for threads beside the running event loop, over a client of it, whose connection stays open."""

    async def lent() -> _AsyncClient:
        return client

    return Client(LoopRunner(asyncio.get_running_loop()), lent, owned=False)


def _of_queue(
    method: Callable[Concatenate[_AsyncQueue, _Arguments], Coroutine[Any, Any, _Result]],
) -> Callable[Concatenate["Queue", _Arguments], _Result]:
    """The method of the async queue, as one that returns when it is done."""

    @functools.wraps(method)
    def call(self: "Queue", /, *args: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        return self.run(lambda queue: method(queue, *args, **options))

    return call


def _made_of(
    method: Callable[Concatenate[_AsyncQueue, _Arguments], Coroutine[Any, Any, _Result]],
    make: Callable[["Queue", _Result], _Made],
) -> Callable[Concatenate["Queue", _Arguments], _Made]:
    """The same, with what is made here of what that returns."""

    @functools.wraps(method)
    def call(self: "Queue", /, *args: _Arguments.args, **options: _Arguments.kwargs) -> _Made:
        return make(self, self.run(lambda queue: method(queue, *args, **options)))

    return call


@dataclass(frozen=True)
class Receipt:
    """The queue has stored the task `id`; with `duplicate` it had one already, and stored nothing.

    `matched` says what that has in common with this one, `dedup_id` or `unique`.
    The `id` of a duplicate is that of the task that is there. It is empty where that task has left the queue's stream.
    `replaced` is the id of the task that this one was stored in place of.
    """

    id: str
    duplicate: bool = False
    matched: Literal["", "dedup_id", "unique"] = ""
    replaced: str = ""
    _queue: "Queue | None" = field(default=None, repr=False, compare=False)

    @overload
    def result(
        self, kind: type[_Kind], /, *, timeout: float | timedelta | None = DEFAULT_RESULT_TIMEOUT_S
    ) -> _Kind: ...
    @overload
    def result(self, kind: Any = Any, /, *, timeout: float | timedelta | None = DEFAULT_RESULT_TIMEOUT_S) -> Any: ...

    def result(self, kind: Any = Any, /, *, timeout: float | timedelta | None = DEFAULT_RESULT_TIMEOUT_S) -> Any:
        """What the task's handler returned, once it has. Raises what the async client's `Queue.result` raises."""
        if self._queue is None:
            raise ConfigurationError("no queue gave this receipt in this process: use queue.result(receipt.id)")
        return self._queue.result(self.id, kind, timeout=timeout)

    def __reduce__(self) -> tuple[type["Receipt"], tuple[str, bool, str, str]]:
        return Receipt, (self.id, self.duplicate, self.matched, self.replaced)


def _receipt(queue: "Queue", receipt: _AsyncReceipt) -> Receipt:
    return Receipt(receipt.id, receipt.duplicate, receipt.matched, receipt.replaced, queue)


def _receipts(queue: "Queue", receipts: list[_AsyncReceipt]) -> list[Receipt]:
    return [_receipt(queue, receipt) for receipt in receipts]


class Queue:
    """One queue; `Client.queue` makes it. It follows changes of the Queue resource by itself."""

    def __init__(self, client: Client, given: str, name: str) -> None:
        self._client = client
        self._given = given
        self.name = name

    def run(self, call: Callable[[_AsyncQueue], Awaitable[_Result]]) -> _Result:
        """What `call` gives for the async queue, run where its client lives."""

        async def called(client: _AsyncClient) -> _Result:
            return await call(await client.queue(self._given))

        return self._client.run(called)

    @property
    def dead_letter_queue(self) -> str | None:
        """`namespace/name` of the queue whose tasks its dead letters become; None where they do not."""

        async def named(queue: _AsyncQueue) -> str | None:
            return queue.dead_letter_queue

        return self.run(named)

    enqueue = _made_of(_AsyncQueue.enqueue, _receipt)
    enqueue_batch = _made_of(_AsyncQueue.enqueue_batch, _receipts)
    status = _of_queue(_AsyncQueue.status)
    history = _of_queue(_AsyncQueue.history)
    stats = _of_queue(_AsyncQueue.stats)
    progress = _of_queue(_AsyncQueue.progress)
    samples = _of_queue(_AsyncQueue.samples)
    redrive = _of_queue(_AsyncQueue.redrive)
    forward_dead_letters = _of_queue(_AsyncQueue.forward_dead_letters)
    purge = _of_queue(_AsyncQueue.purge)
    cancel = _of_queue(_AsyncQueue.cancel)
    run_now = _of_queue(_AsyncQueue.run_now)
    workers = _of_queue(_AsyncQueue.workers)
    only_group = _of_queue(_AsyncQueue.only_group)
    peek = _of_queue(_AsyncQueue.peek)
    peek_scheduled = _of_queue(_AsyncQueue.peek_scheduled)

    @overload
    def result(
        self, task_id: str, kind: type[_Kind], *, timeout: float | timedelta | None = DEFAULT_RESULT_TIMEOUT_S
    ) -> _Kind: ...
    @overload
    def result(
        self, task_id: str, kind: Any = Any, *, timeout: float | timedelta | None = DEFAULT_RESULT_TIMEOUT_S
    ) -> Any: ...

    def result(
        self, task_id: str, kind: Any = Any, *, timeout: float | timedelta | None = DEFAULT_RESULT_TIMEOUT_S
    ) -> Any:
        """What the task's handler returned, once it has: as `kind`, anything a handler's annotation may be.

        Raises TaskFailed where it failed for good, was cancelled or expired, TimeoutError after `timeout`,
        HistoryDisabled where the queue keeps no results, ResultNotStored for one that was too large or could not be
        encoded, and UndecodableTask for one of another kind. In a Broadcast queue it is that of the first group.
        """
        return self.run(lambda queue: queue.result(task_id, kind, timeout=timeout))

    def receive(
        self, max_tasks: int = 10, wait: float | timedelta = 0.0, *, group: str | None = None
    ) -> "list[ReceivedTask]":
        """Take up to `max_tasks` by hand, waiting up to `wait` seconds for the first; each is to be settled.

        What arrives together with the first is returned with it. Ctrl-C hands back what it took. `group` defaults to
        `PROTOQUEUE_GROUP`, and then to the queue's group where it has just one. Raises GroupNotFound and Unavailable.
        """
        received = self.run(lambda queue: queue.receive(max_tasks, wait, group=group))
        return [ReceivedTask(**_values(task, _TASK), _behind=task, _client=self._client) for task in received]

    def lease(self, token: str) -> "Lease":
        """What settles a task by the `token` of the ReceivedTask, in any process. Asks NATS nothing about the task.

        Raises InvalidTask for what is not a token of this queue, GroupNotFound, and Unavailable.
        """
        return Lease(self.run(lambda queue: queue.lease(token)), self._client)

    def dead_letters(
        self, *, group: str | None = None, after: int = 0, timeout: float | timedelta = DEFAULT_TIMEOUT_S
    ) -> "Iterator[DeadLetter]":
        """The dead letters, oldest first, without consuming them; those of one `group` if given.

        With `after` those whose `sequence` is higher.
        """
        letters = self.run(lambda queue: _begun(queue, group, after, timeout))
        while True:
            letter = self._client.run(lambda _: _next(letters))
            if letter is None:
                return
            yield DeadLetter(**_values(letter, _LETTER), _behind=letter, _client=self._client)


async def _begun(
    queue: _AsyncQueue, group: str | None, after: int, timeout: float | timedelta
) -> AsyncIterator[_AsyncLetter]:
    return queue.dead_letters(group=group, after=after, timeout=timeout)


async def _next(items: AsyncIterator[_Result]) -> _Result | None:
    return await anext(items, None)


class _Blocking(Protocol[_Behind]):
    """What stands for an object of the async client, and for `_client`'s threads."""

    @property
    def _behind(self) -> _Behind: ...
    @property
    def _client(self) -> Client: ...


def _blocking(
    method: Callable[Concatenate[_Behind, _Arguments], Coroutine[Any, Any, _Result]],
) -> Callable[Concatenate[_Blocking[_Behind], _Arguments], _Result]:
    """The method of the async object behind this one, as one that returns when it is done."""

    @functools.wraps(method)
    def call(self: _Blocking[_Behind], /, *args: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        return self._client.run(lambda _: method(self._behind, *args, **options))

    return call


@dataclass(frozen=True, slots=True)
class ReceivedTask(Task):
    """A task lent for the group's `visibilityTimeout`: settle or extend it before, else it returns to the queue.

    `leased_until` is when it does, where nobody extends the lease.
    """

    leased_until: datetime = field(kw_only=True)
    _behind: _Received = field(kw_only=True, repr=False)
    _client: Client = field(kw_only=True, repr=False)

    @overload
    def payload(self, kind: type[_Kind], /) -> _Kind: ...
    @overload
    def payload(self, kind: Any = Any, /) -> Any: ...

    def payload(self, kind: Any = Any, /) -> Any:
        """The payload as `kind`, anything a handler's annotation may be; raises UndecodableTask."""
        return self._behind.payload(kind)

    @property
    def group(self) -> str:
        """The consumer group it was received for."""
        return self._behind.group

    @property
    def token(self) -> str:
        """What `Queue.lease` settles this task by, as that of the async client."""
        return self._behind.token

    ack = _blocking(_Received.ack)
    retry = _blocking(_Received.retry)
    reject = _blocking(_Received.reject)
    snooze = _blocking(_Received.snooze)
    throttle = _blocking(_Received.throttle)
    redrive = _blocking(_Received.redrive)
    hand_back = _blocking(_Received.hand_back)
    extend = _blocking(_Received.extend)


class Lease:
    """A task lent by `Queue.receive`, here or in another process: settle or extend it. `Queue.lease` makes it.

    The methods raise what those of the async client's lease raise.
    """

    def __init__(self, lease: _Lease, client: Client) -> None:
        self._behind = lease
        self._client = client

    @property
    def task_id(self) -> str:
        return self._behind.task_id

    @property
    def attempt(self) -> int:
        return self._behind.attempt

    @property
    def group(self) -> str:
        return self._behind.group

    @property
    def visibility_timeout(self) -> timedelta:
        """For how long NATS lends a task of this group."""
        return self._behind.visibility_timeout

    ack = _blocking(_Lease.ack)
    retry = _blocking(_Lease.retry)
    reject = _blocking(_Lease.reject)
    snooze = _blocking(_Lease.snooze)
    throttle = _blocking(_Lease.throttle)
    redrive = _blocking(_Lease.redrive)
    extend = _blocking(_Lease.extend)
    keep = _blocking(_Lease.keep)


@dataclass(frozen=True)
class DeadLetter(Letter):
    """A task that was given up. `reason` is one of `Reason`."""

    _behind: _AsyncLetter = field(repr=False)
    _client: Client = field(repr=False)

    redrive = _blocking(_AsyncLetter.redrive)
    delete = _blocking(_AsyncLetter.delete)


_TASK = [*(known.name for known in fields(Task)), "leased_until"]
_LETTER = [known.name for known in fields(Letter)]


def _values(one: object, names: list[str]) -> dict[str, Any]:
    return {name: getattr(one, name) for name in names}
