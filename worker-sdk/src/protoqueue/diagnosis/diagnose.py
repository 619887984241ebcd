"""What holds a queue up, and what to do about it: facts in, findings out. Pure."""

import math
from collections.abc import Iterator
from datetime import datetime

from protoqueue.diagnosis.facts import Facts, Finding, Group, counted
from protoqueue.diagnosis.next_steps import next_step
from protoqueue.diagnosis.resources import Resource
from protoqueue.diagnosis.workers import of_workers
from protoqueue.outcomes import Reason
from protoqueue.protocol.config import RateLimit

STUCK_AFTER_S, IDLE_PARTITION_AFTER_S = 60.0, 10.0
"""A partition is stuck when it has had the same task for so long; for the shorter time where nobody runs that task."""


def diagnose(facts: Facts) -> list[Finding]:
    """The most serious first; an empty list means that nothing needs to be done."""
    found = [*_of_nats(facts), *_of_queue(facts)]
    for group in facts.groups:
        found += _of_group(facts, group)
    return [*found, *_of_letters(facts)]


def _of_nats(facts: Facts) -> Iterator[Finding]:
    if not facts.nats_problem:
        return
    ready = facts.resource.conditions.get("Ready") if facts.resource else None
    also = f"; the operator says: {ready.message}" if ready and ready.reason == "NatsUnavailable" else ""
    yield Finding(
        "NatsAway",
        f"NATS cannot be asked: {facts.nats_problem}{also}",
        f"check that {facts.nats_setting} names NATS with the right credentials; "
        "check that NATS runs: kubectl get pods -A -l app.kubernetes.io/component=nats",
    )


def _of_queue(facts: Facts) -> Iterator[Finding]:
    _, _, name = facts.name.partition("/")
    if facts.resource:
        yield from _not_ready(facts, "queue", name, facts.resource)
    if facts.paused:
        yield Finding("Paused", "the queue is paused: no tasks are delivered", f"protoqueue resume {facts.name}")
    if not facts.groups and facts.stats is not None:
        waiting = f"{counted(facts.stats.waiting, 'task', ('waits', 'wait'))} and " if facts.stats.waiting else ""
        yield Finding(
            "NoGroup",
            f"{waiting}the queue has no consumer group",
            f"apply a ConsumerGroup with spec.queueRef.name {name} in namespace {facts.namespace}",
        )


def _not_ready(facts: Facts, kind: str, name: str, resource: Resource) -> Iterator[Finding]:
    ready = resource.conditions.get("Ready")
    if ready is None:
        yield Finding(
            "NotReconciled",
            f"the {kind} {name} has no Ready condition: the operator has not reconciled it",
            "check that the operator runs: kubectl get pods -A -l app.kubernetes.io/name=protoqueue",
        )
    elif not resource.is_current:
        yield Finding(
            "NotReconciled",
            f"the last edit of the {kind} {name} is not reconciled yet",
            "if this stays, check that the operator runs: kubectl get pods -A -l app.kubernetes.io/name=protoqueue",
        )
    elif ready.status != "True" and not (ready.reason == "NatsUnavailable" and facts.nats_problem):
        yield Finding(
            ready.reason,
            f"the {kind} {name} is not Ready: {ready.message}",
            next_step(ready.reason, kind=kind, name=name, queue=facts.name, secret=resource.secret),
        )


def _of_group(facts: Facts, group: Group) -> Iterator[Finding]:
    resource, stats = group.resource, group.stats
    workers = list(of_workers(facts, group))
    yield from workers
    if resource and not _is_told(group, bool(workers)):
        yield from _not_ready(facts, "consumergroup", group.name, resource)
    if (resource and resource.paused) or (stats.paused and not facts.paused):
        yield Finding(
            "Paused",
            f"the group {group.name} is paused: no tasks are delivered to it",
            f"protoqueue resume {facts.name} --group {group.name}",
        )
    elif not facts.paused and stats.throttled_until is not None:
        yield _throttled(facts, group, stats.throttled_until)
    elif not facts.paused:
        yield from _stuck_partitions(facts, group)
        yield from _rate_limited(facts, group)
        yield from _at_limit(facts, group)


def _is_told(group: Group, of_workers: bool) -> bool:
    """Whether what the group's condition says was said before, of its queue or of its workers."""
    ready = group.resource.conditions.get("Ready") if group.resource else None
    if ready is None:
        return False
    return ready.reason == "QueueNotReady" or (ready.reason == "WorkersFailing" and of_workers)


def _throttled(facts: Facts, group: Group, until: datetime) -> Finding:
    said = f" ({group.stats.throttle_reason})" if group.stats.throttle_reason else ""
    return Finding(
        "Throttled",
        f"a handler of {group.name} throttles it until {until:%H:%M:%S} UTC{said}: no task is started before then",
        f"wait: it ends by itself; to end it now: protoqueue resume {facts.name} --group {group.name}",
    )


def _stuck_partitions(facts: Facts, group: Group) -> Iterator[Finding]:
    nobody_runs = group.running < group.stats.in_flight
    after_s = IDLE_PARTITION_AFTER_S if nobody_runs else STUCK_AFTER_S
    stuck = [
        each
        for each in facts.partitions
        if each.group == group.name and (facts.now - each.since).total_seconds() >= after_s
    ]
    if not stuck or not group.workers:
        return
    worst, others = stuck[0], f" ({len(stuck)} partitions stand like this)" if len(stuck) > 1 else ""
    task = f"the task {worst.task.id}{_typed(worst.task.type)}" if worst.task else "a task"
    does = "waits for its retry, or for its lease to end" if nobody_runs else "still runs"
    yield Finding(
        "StuckPartition",
        f"partition {worst.number} of {group.name} has stood for {_span((facts.now - worst.since).total_seconds())}: "
        f"{task} {does}, and {counted(worst.waiting, 'task', ('waits', 'wait'))} behind it{others}",
        f"see why: protoqueue logs {facts.name} --group {group.name}"
        + (f"; let the others go on without it: protoqueue cancel {facts.name} {worst.task.id}" if worst.task else ""),
    )


def _rate_limited(facts: Facts, group: Group) -> Iterator[Finding]:
    held = [worker for worker in group.workers if worker.rate_limited]
    limit, kind = (group.rate_limit, "consumergroup") if group.rate_limit else (facts.rate_limit, "queue")
    if not held or limit is None or not (group.stats.waiting or group.stats.in_flight):
        return
    name = group.name if kind == "consumergroup" else facts.name.partition("/")[2]
    per_s = limit.tasks / limit.per_s
    waiting = counted(group.stats.waiting, "task", ("waits", "wait"))
    yield Finding(
        "RateLimited",
        f"the rate limit of the {kind} {name}, {_limit(limit)}, holds {group.name} back: {waiting}, "
        f"for {_span(group.stats.waiting / per_s)} at this rate",
        f"raise or remove spec.rateLimit, if the service that is called can take more: kubectl edit {kind} {name} "
        f"-n {facts.namespace}",
    )


def _at_limit(facts: Facts, group: Group) -> Iterator[Finding]:
    """The operator would run more workers, and may not."""
    resource = group.resource
    scaling = resource.conditions.get("Scaling") if resource else None
    if resource is None or not group.stats.waiting:
        return
    if scaling and scaling.reason == "InFlightLimited":
        yield Finding(
            "InFlightLimited",
            f"more workers of {group.name} would get nothing: {scaling.message}",
            f"raise spec.maxInFlight: kubectl edit consumergroup {group.name} -n {facts.namespace}; "
            "of an ordered queue: give it more ordering.partitions, or spread tasks over more ordering keys",
        )
    if scaling and scaling.reason == "ScaleUpLimited":
        yield Finding(
            "ScaleUpLimited",
            f"{group.name} may not grow faster: {scaling.message}",
            "wait: workers are added as the period goes on; or raise spec.autoscale.scaleUpLimit: "
            f"kubectl edit consumergroup {group.name} -n {facts.namespace}",
        )
    behind = facts.arrivals_per_s >= facts.completions_per_s
    full = resource.maximum is not None and (resource.desired or 0) >= resource.maximum
    if (scaling and scaling.reason == "AtMaximum") or (full and behind and group.workers):
        said = scaling.message if scaling and scaling.reason == "AtMaximum" else "the backlog does not shrink"
        yield Finding(
            "AtMaximum",
            f"{group.name} is at maxReplicas ({resource.maximum}): {said}",
            f"raise spec.autoscale.maxReplicas: kubectl edit consumergroup {group.name} -n {facts.namespace}; "
            "or make its tasks shorter",
        )


def _of_letters(facts: Facts) -> Iterator[Finding]:
    crashes = [each for each in facts.letters if each["reason"] == Reason.CRASHED]
    for each in crashes:
        yield Finding(
            "PoisonTask",
            f"{counted(each['count'], 'task')}{_typed(each['type'])} killed the workers that ran "
            f"{_them(each['count'])} and went to the dead letters: {each['error']}",
            f"see the task: protoqueue dead show {facts.name} {each['example']}; look for an out-of-memory kill or a "
            f"crash of native code: protoqueue logs {facts.name} --previous; once the cause is fixed: "
            f"protoqueue dead redrive {facts.name} --reason Crashed",
        )
    others = [each for each in facts.letters if each["reason"] != Reason.CRASHED]
    if not others and facts.stats and facts.stats.dead and not crashes:
        yield Finding("DeadLetters", counted(facts.stats.dead, "dead letter"), f"protoqueue dead summary {facts.name}")
    for each in others[:1]:
        total = sum(one["count"] for one in facts.letters)
        most = f", {each['count']} of them" if each["count"] < total else ""
        error = f"{each['error_type']}: {each['error']}" if each["error_type"] else each["error"]
        yield Finding(
            "DeadLetters",
            f"{counted(total, 'dead letter')}{most}{_typed(each['type'])} because of {each['reason']}: {error}",
            f"see one: protoqueue dead show {facts.name} {each['example']}; once the cause is fixed: "
            f"protoqueue dead redrive {facts.name} --reason {each['reason']}",
        )
    if facts.dead_letter_queue and facts.stats and facts.stats.dead:
        yield Finding(
            "NotForwarded",
            f"dead letters go to {facts.dead_letter_queue}, and these did not: they are from before, or it did not "
            "take them",
            f"see why: protoqueue logs {facts.name}; then: protoqueue dead forward {facts.name} --all",
        )


def _them(count: int) -> str:
    return "them" if count != 1 else "it"


def _typed(task_type: str) -> str:
    return f" of type {task_type}" if task_type else ""


def _limit(limit: RateLimit) -> str:
    per = _span(limit.per_s)
    return f"{limit.tasks} per {'second' if per == '1s' else per}"


def _span(seconds: float) -> str:
    """`3s`, `4m`, `2h`, `5d`: rounded up, as it is about how long one waits."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{math.ceil(seconds / size)}{unit}"
    return f"{math.ceil(seconds)}s"
