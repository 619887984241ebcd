"""`protoqueue why`: one screen on what a queue does, what holds it up and what to do next."""

import asyncio
import contextlib
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from protoqueue.admin.dead_letters import DeadLetter
from protoqueue.admin.samples import QueueSamples
from protoqueue.admin.stats import Progress
from protoqueue.cli import kubectl
from protoqueue.cli.connection import ConnectedCommand, open_client, selected_server
from protoqueue.cli.dead import summarize
from protoqueue.cli.failure import fail
from protoqueue.cli.output import Format, Output, QueueArgument, print_data, print_lines, run_async, terminal_width
from protoqueue.cli.progress import shown
from protoqueue.cli.why_screen import screen
from protoqueue.connection import connect
from protoqueue.diagnosis.diagnose import diagnose
from protoqueue.diagnosis.facts import RECENT_S, Facts, mean_rates
from protoqueue.diagnosis.look import Look, groups_of, look_into
from protoqueue.diagnosis.resources import Pod, Resource, read_pods
from protoqueue.errors import ConfigurationError, PermissionDenied, ProtoQueueError, QueueNotFound, Unavailable
from protoqueue.protocol.names import QueueName
from protoqueue.queue import Queue

_LETTERS = 1000
_ERRORS_SHOWN = 5
_CONNECT_S = 5.0


def register(app: typer.Typer) -> None:
    app.command("why", cls=ConnectedCommand)(why)


def why(
    queue: QueueArgument,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds over which rates are measured.")] = 1.0,
    output: Output = Format.TABLE,
) -> None:
    """Diagnose a queue: backlog, rates, responding workers, limits, top errors and the next step.

    Reads NATS and, if kubectl is installed, the Queue, its ConsumerGroups and their pods; either of them is enough.
    """
    try:
        name = QueueName.parse(queue)
    except ValueError as error:
        fail(str(error))

    facts = run_async(lambda: shown(_facts(name, interval), "measuring"))
    if facts.stats is None and facts.resource is None and not facts.nats_problem:
        fail(
            f"queue {name} exists neither in this NATS nor in Kubernetes"
            + (f" ({facts.kubernetes_problem})" if facts.kubernetes_problem else "")
            + ": list queues with `protoqueue stats`"
        )
    if output is not Format.TABLE:
        print_data(_as_data(facts), output)
    else:
        print_lines(screen(facts, diagnose(facts), terminal_width()))


async def _facts(name: QueueName, interval_s: float) -> Facts:
    server = selected_server()
    if server is None:
        return await look(name, interval_s)
    open_client()  # says what is missing for that
    from protoqueue.cli import why_gateway

    return await why_gateway.look(server, name, _LETTERS, _ERRORS_SHOWN)


async def look(name: QueueName, interval_s: float) -> Facts:
    """What NATS and Kubernetes tell, as far as they can be asked; rates are over `interval_s`."""
    (resource, groups, pods, problem), seen = await asyncio.gather(
        asyncio.to_thread(_from_kubernetes, name), _from_nats(name, interval_s)
    )
    inspection = seen.look.inspection if seen.look else None
    before, after = seen.progress
    return Facts(
        str(name),
        datetime.now(UTC),
        inspection.stats if inspection else None,
        groups_of(seen.look, groups, pods),
        resource,
        arrivals_per_s=max(0, after.stored - before.stored) / interval_s,
        completions_per_s=max(0, after.removed - before.removed) / interval_s,
        rate_limit=inspection.rate_limits.get("") if inspection else None,
        partitions=inspection.partitions if inspection else (),
        letters=summarize(seen.letters)[:_ERRORS_SHOWN],
        dead_letter_queue=seen.dead_letter_queue,
        recent=mean_rates(seen.recent),
        nats_problem=seen.problem,
        kubernetes_problem=problem,
    )


class _Seen:
    """What NATS tells; `problem` is why it tells nothing."""

    def __init__(self, problem: str = "") -> None:
        self.problem = problem
        self.look: Look | None = None
        self.progress = Progress(0, 0), Progress(0, 0)
        self.letters: list[DeadLetter] = []
        self.recent: QueueSamples | None = None
        self.dead_letter_queue: str | None = None


async def _from_nats(name: QueueName, interval_s: float) -> _Seen:
    try:
        async with connect(timeout=_CONNECT_S) as client:
            return await _look_into(await client.queue(str(name)), interval_s)
    except QueueNotFound:
        return _Seen()
    except (Unavailable, PermissionDenied, ConfigurationError) as error:
        return _Seen(str(error))


async def _look_into(queue: Queue, interval_s: float) -> _Seen:
    seen = _Seen()
    before = await queue.progress()
    await asyncio.sleep(interval_s)
    seen.progress = before, await queue.progress()
    seen.dead_letter_queue = queue.dead_letter_queue
    seen.look = await look_into(queue)
    with contextlib.suppress(ProtoQueueError):  # a user may not be allowed, and an earlier operator keeps none
        seen.recent = await queue.samples(since=RECENT_S)
    async for letter in queue.dead_letters():
        seen.letters.append(letter)
        if len(seen.letters) >= _LETTERS:
            break
    return seen


def _from_kubernetes(
    name: QueueName,
) -> tuple[Resource | None, dict[str, Resource], dict[str, list[Pod]], str]:
    """The Queue, its groups and their pods, by group; and what is to be said where Kubernetes could not be asked."""
    groups: dict[str, Resource] = {}
    pods: dict[str, list[Pod]] = {}
    in_namespace = ("-n", name.namespace)
    try:
        try:
            queue = Resource.read(kubectl.get(f"queues.protoqueue.dev/{name.name}", *in_namespace))
        except kubectl.NotThere:
            return None, {}, {}, ""
        for body in kubectl.get("consumergroups.protoqueue.dev", *in_namespace)["items"]:
            if ((body.get("spec") or {}).get("queueRef") or {}).get("name") == name.name:
                group = body["metadata"]["name"]
                groups[group] = Resource.read(body)
                if groups[group].has_workers:
                    found = kubectl.get("pods", *in_namespace, "-l", groups[group].selector)
                    pods[group] = read_pods(found["items"])
    except kubectl.KubectlFailed as error:
        return None, {}, {}, f"conditions not shown: {error}"
    return queue, groups, pods, ""


def _as_data(facts: Facts) -> dict[str, Any]:
    stats = facts.stats
    return {
        "queue": facts.name,
        "stats": {name: getattr(stats, name) for name in ("waiting", "in_flight", "scheduled", "dead", "paused")}
        if stats
        else None,
        "oldest_age": stats.oldest_age.total_seconds() if stats and stats.oldest_age else None,
        "arrivals_per_s": facts.arrivals_per_s,
        "completions_per_s": facts.completions_per_s,
        "recent": dict(zip(("arrivals_per_s", "completions_per_s"), facts.recent, strict=True))
        if facts.recent
        else None,
        "groups": [
            {
                "name": group.name,
                "waiting": group.stats.waiting,
                "in_flight": group.stats.in_flight,
                "workers": [asdict(worker) for worker in group.workers],
                "desired": group.resource.desired if group.resource else None,
                "available": group.resource.available if group.resource else None,
                "max_replicas": group.resource.maximum if group.resource else None,
            }
            for group in facts.groups
        ],
        "errors": list(facts.letters),
        "findings": [{"cause": one.cause, "what": one.what, "next": one.todo} for one in diagnose(facts)],
        "kubernetes": facts.kubernetes_problem or None,
    }
