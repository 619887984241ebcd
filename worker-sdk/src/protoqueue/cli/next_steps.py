"""What to do about a resource that is not Ready, by the condition's reason. Pure."""

from collections.abc import Mapping

_EDIT = "kubectl edit {kind} {name} -n {namespace}"

_STEPS: Mapping[str, str] = {
    "InvalidSpec": f"correct the field that the message names: {_EDIT}",
    "ImmutableField": f"bring the field back, or use another name: {_EDIT}",
    "ForeignAsset": "use another name, or remove what is in the way; where its tasks are yours, annotate the Queue as "
    "the message says",
    "TakenOver": "give each cluster a NATS account of its own",
    "QueueNotFound": f"create the Queue, or correct spec.queueRef.name: {_EDIT}",
    "QueueNotReady": "protoqueue why of that queue says what it waits for",
    "QueueHasGroup": "delete one of the two groups, or set delivery: Broadcast in the Queue",
    "ScaleTargetTaken": f"name another scaleTargetRef in one of the two groups: {_EDIT}",
    "TargetNotFound": f"correct spec.worker.scaleTargetRef, or let the operator read that kind: {_EDIT}",
    "WorkersFailing": "protoqueue logs {queue} --previous; kubectl describe pods -n {namespace} -l "
    "protoqueue.dev/consumer-group={name}",
    "LevelsGrowing": "it passes by itself; else look at the group that the message names",
    "SecretNotFound": "create the Secret: kubectl create secret generic {secret} -n {namespace} "
    "--from-literal=url=nats://HOST:4222",
    "SecretInvalid": "correct the Secret: kubectl edit secret {secret} -n {namespace}",
    "Moving": "let workers empty the queue at its old home; redrive or delete its dead letters",
    "NatsRefused": f"correct the field that the message names: {_EDIT}",
    "QuotaExceeded": "raise the limit of the NATS account that the message names, or remove what is not needed",
    "NatsUnavailable": "check that NATS runs, and its address and credentials; the operator's log says more: "
    "kubectl logs -A -l app.kubernetes.io/name=protoqueue,app.kubernetes.io/component=operator --tail=50",
    "InternalError": "the operator's log has the traceback, please report it: kubectl logs -A -l "
    "app.kubernetes.io/name=protoqueue,app.kubernetes.io/component=operator --tail=200",
    "KubernetesRefused": "grant the operator what the message names (helm values rbac.*), or lift the quota or policy",
    "WaitingForGroups": "delete the groups that the message names",
    "Draining": "wait until its tasks are done, or: protoqueue purge {queue}",
    "NotEmpty": "protoqueue purge {queue}; protoqueue dead delete {queue} --all",
    "DeadLetterQueueNotFound": f"create the Queue in deadLetter.queueRef, or correct it: {_EDIT}",
    "DeadLetterQueueNotReady": "protoqueue why of the queue in deadLetter.queueRef says what it waits for",
}


def next_step(reason: str, *, kind: str, name: str, queue: str, secret: str = "") -> str:
    """What to do; `queue` is `namespace/name`, `secret` the one that says where NATS is."""
    step = _STEPS.get(reason, "kubectl describe {kind} {name} -n {namespace}")
    namespace = queue.partition("/")[0]
    return step.format(kind=kind, name=name, namespace=namespace, queue=queue, secret=secret or "NAME")


def known_reasons() -> frozenset[str]:
    """Those for which there is something better to say than to describe the resource."""
    return frozenset(_STEPS)
