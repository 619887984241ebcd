"""Why a group's workers do not work: what their pods say, and what they themselves answer. Pure."""

from collections.abc import Iterator

from protoqueue.diagnosis.facts import Facts, Finding, Group, counted
from protoqueue.diagnosis.next_steps import next_step
from protoqueue.diagnosis.resources import NO_IMAGE, Pod, worst_of
from protoqueue.protocol.servers import one_line

_LONGEST = 300


def of_workers(facts: Facts, group: Group) -> Iterator[Finding]:
    """Of a group that has something to do; of one that has not, only what its pods say of themselves."""
    if (worst := worst_of(group.pods)) is not None and (told := _of_pod(facts, group, worst)):
        yield told
        return
    if not group.knows_pods and (told := _of_condition(facts, group)):
        yield told
        return
    is_held = facts.paused or group.stats.paused or (group.resource is not None and group.resource.paused)
    is_held = is_held or group.stats.throttled_until is not None
    troubled = [worker for worker in group.workers if worker.trouble]
    if troubled:
        yield Finding(
            "Unsettled" if "outcomes" in troubled[0].trouble else "WorkersInTrouble",
            f"{len(troubled)} of {counted(len(group.workers), 'worker')} of {group.name} cannot go on: "
            f"{one_line(troubled[0].trouble, _LONGEST)}",
            "remove what NATS complains about, and they go on by themselves; check that the queue's streams are there: "
            f"kubectl describe queue {facts.name.partition('/')[2]} -n {facts.namespace}; see each attempt: "
            f"protoqueue logs {facts.name} --group {group.name}",
        )
    elif not group.is_asked:
        if group.stats.waiting and not is_held and group.available == 0:
            yield Finding(
                "NoWorkers",
                f"{_waiting(group)} and no worker of {group.name} is available",
                f"see why, where kubectl reaches the cluster: protoqueue why {facts.name}",
            )
    elif group.stats.waiting and not is_held and not group.workers:
        yield _no_worker(facts, group)
    elif group.stats.waiting and not is_held and _starts_nothing(facts, group):
        yield Finding(
            "NothingStarts",
            f"the workers of {group.name} respond but start none of the waiting tasks ({group.stats.waiting})",
            f"their log, and their /readyz, say why: protoqueue logs {facts.name} --group {group.name}",
        )


def _starts_nothing(facts: Facts, group: Group) -> bool:
    if facts.completions_per_s or group.stats.in_flight:
        return False
    return not any(worker.rate_limited for worker in group.workers)


def _of_condition(facts: Facts, group: Group) -> Finding | None:
    """What the operator saw of the pods, in the words of its `worker_pods.failure`."""
    ready = group.resource.conditions.get("Ready") if group.resource else None
    if ready is None or ready.status == "True" or ready.reason != "WorkersFailing":
        return None
    words = set(ready.message.replace(":", " ").replace(",", " ").split())
    edit, logs = _edit(facts, group), _last_log(facts, group)
    if words & set(NO_IMAGE):
        cause, todo = "WrongImage", _CORRECT_IMAGE + edit
    elif "scheduled" in words:
        cause, todo = "Unschedulable", _MAKE_ROOM + edit
    elif "ran out of memory" in ready.message:
        cause, todo = "CrashLooping", _GIVE_MEMORY + edit
    elif "exited" in words:
        cause, todo = "CrashLooping", f"see what it said last: {logs}"
    else:
        cause, todo = ready.reason, next_step(ready.reason, kind="consumergroup", name=group.name, queue=facts.name)
    return Finding(cause, f"{group.name}: {one_line(ready.message, _LONGEST)}", todo)


_CORRECT_IMAGE = "correct the image in spec.worker.template, or add imagePullSecrets: "
_MAKE_ROOM = "lower resources.requests of the template, or add nodes: "
_GIVE_MEMORY = "raise resources.limits.memory in spec.worker.template, or lower the concurrency: "


def _edit(facts: Facts, group: Group) -> str:
    return f"kubectl edit consumergroup {group.name} -n {facts.namespace}"


def _last_log(facts: Facts, group: Group) -> str:
    return f"protoqueue logs {facts.name} --group {group.name} --previous"


def _of_pod(facts: Facts, group: Group, pod: Pod) -> Finding | None:
    ready = sum(each.is_ready for each in group.pods)
    wanted = (group.resource.desired if group.resource else None) or len(group.pods)
    available = f"{ready} of {counted(wanted, 'worker')} of {group.name} {'is' if wanted == 1 else 'are'} available"
    edit, logs = _edit(facts, group), _last_log(facts, group)
    message = f": {one_line(pod.message, _LONGEST)}" if pod.message else ""
    if pod.unschedulable:
        return Finding(
            "Unschedulable",
            f"{available}: no node takes the pod {pod.name}: {one_line(pod.unschedulable, _LONGEST)}",
            _MAKE_ROOM + edit,
        )
    if pod.waits_for in NO_IMAGE:
        return Finding(
            "WrongImage",
            f"{available}: the image {pod.image} cannot be used, {pod.waits_for}{message}",
            _CORRECT_IMAGE + edit,
        )
    if pod.ended_because == "OOMKilled":
        return Finding(
            "CrashLooping",
            f"{available}: container {pod.container} ran out of memory, {_restarts(pod)}",
            _GIVE_MEMORY + edit,
        )
    if pod.waits_for == "CrashLoopBackOff" or (pod.restarts and pod.exit_code):
        task = (
            f"; {counted(group.redelivered, 'task', ('was', 'were'))} with a worker that died"
            if group.redelivered
            else ""
        )
        code = "" if pod.exit_code is None else f" exited with code {pod.exit_code},"
        return Finding(
            "CrashLooping",
            f"{available}: container {pod.container}{code} {_restarts(pod)}{task}",
            f"see what it said last: {logs}",
        )
    if pod.waits_for:
        return Finding(
            "PodsNotStarting",
            f"{available}: container {pod.container}, {pod.waits_for}{message}",
            f"see its events: kubectl describe pod {pod.name} -n {facts.namespace}; "
            f"correct spec.worker.template: {edit}",
        )
    return None


def _restarts(pod: Pod) -> str:
    return counted(pod.restarts, "restart")


def _waiting(group: Group) -> str:
    return counted(group.stats.waiting, "task", ("is waiting", "are waiting"))


def _no_worker(facts: Facts, group: Group) -> Finding:
    waiting, resource, name = _waiting(group), group.resource, group.name
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
        if scaling and scaling.reason == "BelowActivation":
            return Finding(
                "BelowActivation",
                f"{name} is started once there is more to do: {scaling.message}",
                "wait until as many tasks have come, or lower spec.autoscale.activationTasks: "
                f"kubectl edit consumergroup {name} -n {facts.namespace}",
            )
        why = f": {scaling.reason}: {scaling.message}" if scaling else ""
        return Finding(
            "NoWorkers",
            f"{waiting} and {name} is to have no workers{why}",
            f"set spec.replicas or spec.autoscale: kubectl edit consumergroup {name} -n {facts.namespace}",
        )
    if ready := sum(pod.is_ready for pod in group.pods):
        return Finding(
            "WorkersSilent",
            f"{waiting}, and of {counted(ready, 'available worker')} of {name} none responds",
            "do they run a Worker of this queue and group, and reach NATS? Their log says: "
            f"protoqueue logs {facts.name} --group {name}",
        )
    there = f"{resource.available or 0} of {counted(resource.desired, 'worker')} available"
    starting = "its pods are starting" if group.pods else "it has no pods yet"
    return Finding(
        "NoWorkers",
        f"{nobody}: {starting if group.knows_pods else there}",
        f"see them: {pods}{resource.selector}; kubectl describe {resource.target} -n {facts.namespace}",
    )
