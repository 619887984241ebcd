"""What to do about a resource that is not Ready, by the condition's reason. Pure."""

from collections.abc import Mapping

_OPERATOR = "app.kubernetes.io/name=protoqueue,app.kubernetes.io/component=operator"
_LOG = (
    f"kubectl get pods -A -l {_OPERATOR} --no-headers | awk '{{{{print \"-n\", $1, $2}}}}' "
    "| xargs -rL1 kubectl logs --tail=100; "
    "the same of a local `protoqueue up`: tail -n 100 .protoqueue/logs/operator.log"
)
_NATS = f"check that NATS runs: kubectl get pods -A -l app.kubernetes.io/component=nats; see the operator's log: {_LOG}"
_EDIT = "kubectl edit {kind} {name} -n {namespace}"

_STEPS: Mapping[str, str] = {
    "InvalidSpec": f"correct the field that the message names: {_EDIT}",
    "ImmutableField": f"bring the field back, or use another name: {_EDIT}",
    "ForeignAsset": "use another name, or remove what is in the way; where its tasks are yours, annotate the Queue as "
    "the message says",
    "TakenOver": "give each cluster a NATS account of its own",
    "QueueNotFound": f"create the Queue, or correct spec.queueRef.name: {_EDIT}",
    "QueueNotReady": "see what that queue waits for: protoqueue why {queue}",
    "QueueHasGroup": "delete one of the two groups, or set delivery: Broadcast in the Queue",
    "ScaleTargetTaken": f"name another scaleTargetRef in one of the two groups: {_EDIT}",
    "TargetNotFound": f"correct spec.worker.scaleTargetRef, or let the operator read that kind: {_EDIT}",
    "WorkersFailing": "see what they said last: protoqueue logs {queue} --group {name} --previous; "
    "see their events: kubectl describe pods -n {namespace} -l protoqueue.dev/consumer-group={name}",
    "LevelsGrowing": "it passes by itself; else look at the group that the message names",
    "SecretNotFound": "create the Secret: kubectl create secret generic {secret} -n {namespace} "
    "--from-literal=url=nats://HOST:4222",
    "SecretInvalid": "set the key that the message names, such as url: kubectl patch secret {secret} -n {namespace} "
    """-p '{{"stringData": {{"url": "nats://HOST:4222"}}}}'""",
    "Moving": "let workers empty the queue at its old home; redrive or delete its dead letters",
    "NatsRefused": f"correct the field that the message names: {_EDIT}",
    "QuotaExceeded": "raise the limit of the NATS account that the message names, or remove what is not needed",
    "NatsUnavailable": _NATS,
    "InternalError": f"please report it with the traceback in the operator's log: {_LOG}",
    "KubernetesRefused": "grant the operator what the message names (helm values rbac.*), or lift the quota or policy",
    "WaitingForGroups": "delete the groups that the message names",
    "Draining": "wait until its tasks are done, or: protoqueue purge {queue}",
    "NotEmpty": "remove what it holds: protoqueue purge {queue}; protoqueue dead delete {queue} --all",
    "DeadLetterQueueNotFound": f"create the Queue in deadLetter.queueRef, or correct it: {_EDIT}",
    "DeadLetterQueueNotReady": "see what the queue in deadLetter.queueRef waits for: kubectl get queues -n {namespace}",
}

_ADDRESS = (
    "correct the address in the Secret, if it is wrong: kubectl patch secret {secret} -n {namespace} "
    """-p '{{"stringData": {{"url": "nats://HOST:4222"}}}}'"""
)


def next_step(reason: str, *, kind: str, name: str, queue: str, secret: str = "") -> str:
    """What to do; `queue` is `namespace/name`, `secret` the one that says where NATS is."""
    step = _STEPS.get(reason, "kubectl describe {kind} {name} -n {namespace}")
    if reason == "NatsUnavailable" and secret:
        step = f"{_ADDRESS}; {step}"
    namespace = queue.partition("/")[0]
    return step.format(kind=kind, name=name, namespace=namespace, queue=queue, secret=secret or "NAME")


def known_reasons() -> frozenset[str]:
    """Those for which there is something better to say than to describe the resource."""
    return frozenset(_STEPS)
