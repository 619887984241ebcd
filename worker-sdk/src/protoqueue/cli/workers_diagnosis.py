"""Why a group's workers do not work: what their pods say, and what they themselves answer. Pure."""

from collections.abc import Iterator

from protoqueue.cli.facts import Facts, Finding, Group
from protoqueue.cli.resources import NO_IMAGE, Pod, worst_of
from protoqueue.cli.table import one_line

_LONGEST = 300


def of_workers(facts: Facts, group: Group) -> Iterator[Finding]:
    """Of a group that has something to do; of one that has not, only what its pods say of themselves."""
    if (worst := worst_of(group.pods)) is not None and (told := _of_pod(facts, group, worst)):
        yield told
        return
    is_held = facts.paused or group.stats.paused or (group.resource is not None and group.resource.paused)
    is_held = is_held or group.stats.throttled_until is not None
    troubled = [worker for worker in group.workers if worker.trouble]
    if troubled:
        yield Finding(
            "Unsettled" if "outcomes" in troubled[0].trouble else "WorkersInTrouble",
            f"{len(troubled)} of {len(group.workers)} workers of {group.name} cannot go on: "
            f"{one_line(troubled[0].trouble, _LONGEST)}",
            f"remove what NATS complains about, and they go on by themselves; protoqueue logs {facts.name} "
            f"--group {group.name} has each attempt",
        )
    elif not group.is_asked:
        if group.stats.waiting and not is_held and group.available == 0:
            yield Finding(
                "NoWorkers",
                f"{group.stats.waiting} tasks are waiting and no worker of {group.name} is available",
                f"protoqueue why {facts.name} where kubectl reaches the cluster says why",
            )
    elif group.stats.waiting and not is_held and not group.workers:
        yield _no_worker(facts, group)
    elif group.stats.waiting and not is_held and _starts_nothing(facts, group):
        yield Finding(
            "NothingStarts",
            f"the workers of {group.name} respond but start none of the {group.stats.waiting} waiting tasks",
            f"/readyz of the workers and their log say why: protoqueue logs {facts.name} --group {group.name}",
        )


def _starts_nothing(facts: Facts, group: Group) -> bool:
    if facts.completions_per_s or group.stats.in_flight:
        return False
    return not any(worker.rate_limited for worker in group.workers)


def _of_pod(facts: Facts, group: Group, pod: Pod) -> Finding | None:
    ready = sum(each.is_ready for each in group.pods)
    available = f"{ready} of {len(group.pods)} workers of {group.name} are available"
    edit = f"kubectl edit consumergroup {group.name} -n {facts.namespace}"
    message = f": {one_line(pod.message, _LONGEST)}" if pod.message else ""
    logs = f"protoqueue logs {facts.name} --group {group.name} --previous"
    if pod.unschedulable:
        return Finding(
            "Unschedulable",
            f"{available}: no node takes the pod {pod.name}: {one_line(pod.unschedulable, _LONGEST)}",
            f"lower resources.requests of the template, or add nodes: {edit}",
        )
    if pod.waits_for in NO_IMAGE:
        return Finding(
            "WrongImage",
            f"{available}: the image {pod.image} cannot be used, {pod.waits_for}{message}",
            f"correct the image in spec.worker.template, or add imagePullSecrets: {edit}",
        )
    if pod.ended_because == "OOMKilled":
        return Finding(
            "CrashLooping",
            f"{available}: container {pod.container} ran out of memory, {_restarts(pod)}",
            f"raise resources.limits.memory in spec.worker.template, or lower the concurrency: {edit}",
        )
    if pod.waits_for == "CrashLoopBackOff" or (pod.restarts and pod.exit_code):
        task = f"; {group.redelivered} tasks were with a worker that died" if group.redelivered else ""
        code = "" if pod.exit_code is None else f" exited with code {pod.exit_code},"
        return Finding(
            "CrashLooping",
            f"{available}: container {pod.container}{code} {_restarts(pod)}{task}",
            f"{logs} shows what it said last",
        )
    if pod.waits_for:
        return Finding(
            "PodsNotStarting",
            f"{available}: container {pod.container}, {pod.waits_for}{message}",
            f"correct spec.worker.template: {edit}; kubectl describe pod {pod.name} -n {facts.namespace}",
        )
    return None


def _restarts(pod: Pod) -> str:
    return f"{pod.restarts} restart{'s' if pod.restarts != 1 else ''}"


def _no_worker(facts: Facts, group: Group) -> Finding:
    waiting, resource, name = f"{group.stats.waiting} tasks are waiting", group.resource, group.name
    nobody = f"{waiting} and no worker of {name} responds"
    start = f"protoqueue worker MODULE:WORKER --queue {facts.name} --group {name}"
    pods = f"kubectl get pods -n {facts.namespace} -l "
    if resource is None:
        where = f"{pods}protoqueue.dev/consumer-group={name}"
        return Finding("NoWorkers", nobody, f"start one: {start}; where the operator runs them: {where}")
    if not resource.has_workers:
        return Finding(
            "NoWorkers",
            f"{nobody}: spec.worker is not set, so the operator runs none",
            f"set spec.worker.template in the ConsumerGroup {name}, or start one elsewhere: {start}",
        )
    if not resource.desired:
        scaling = resource.conditions.get("Scaling")
        why = f": {scaling.reason}: {scaling.message}" if scaling else ""
        return Finding(
            "NoWorkers",
            f"{waiting} and {name} is to have no workers{why}",
            f"set spec.replicas or spec.autoscale: kubectl edit consumergroup {name} -n {facts.namespace}",
        )
    if ready := sum(pod.is_ready for pod in group.pods):
        return Finding(
            "WorkersSilent",
            f"{waiting}, and of {ready} available workers of {name} none responds",
            f"protoqueue logs {facts.name} --group {name}: do they run protoqueue for this queue and group, and reach "
            "NATS?",
        )
    return Finding(
        "NoWorkers",
        f"{nobody}: {'its pods are starting' if group.pods else 'it has no pods yet'}",
        f"{pods}{resource.selector}; kubectl describe {resource.target} -n {facts.namespace}",
    )
