"""The state of a group's pods: whether they are ready, and if not, why."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protoqueue_operator.api.v1alpha1.text import counted

_STARTING = ("ContainerCreating", "PodInitializing", "")
_MOST_TEXT = 300


@dataclass(frozen=True)
class Pod:
    is_ready: bool
    restarts: int = 0
    """The restarts of the container that was restarted most."""
    trouble: str = ""
    """What keeps it from being ready; empty while it is only starting."""


def parse_pods(items: Iterable[Mapping[str, Any]]) -> list[Pod]:
    """Pods that are being deleted, or have ended for good, no longer count as workers."""
    return [_parse(body) for body in items if _counts(body)]


def ready_count(pods: Iterable[Pod]) -> int:
    return sum(pod.is_ready for pod in pods)


def failure(pods: Sequence[Pod], available: int, wanted: int) -> str:
    """Why no worker is available, such as "0 of 3 workers available; container worker exited 1, 7 restarts"."""
    worst = max(
        (pod for pod in pods if not pod.is_ready), key=lambda pod: (pod.restarts, pod.trouble != ""), default=None
    )
    if worst is None:
        why = "no pod was created" if not pods else "no pod stays ready"
    else:
        why = worst.trouble or "its pods are starting"
    return f"{available} of {counted(wanted, 'worker')} available; {why}"


def _counts(body: Mapping[str, Any]) -> bool:
    phase = (body.get("status") or {}).get("phase")
    return "deletionTimestamp" not in body["metadata"] and phase not in ("Succeeded", "Failed")


def _parse(body: Mapping[str, Any]) -> Pod:
    status = body.get("status") or {}
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    worst = max(containers, key=lambda each: each.get("restartCount", 0), default=None)
    restarts = worst.get("restartCount", 0) if worst else 0
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        trouble = f"a pod cannot be scheduled: {_cut(scheduled.get('message', ''))}"
    else:
        trouble = next(
            filter(None, map(_trouble, sorted(containers, key=lambda each: -each.get("restartCount", 0)))), ""
        )
    return Pod(conditions.get("Ready", {}).get("status") == "True", restarts, trouble)


def _trouble(container: Mapping[str, Any]) -> str:
    state = container.get("state") or {}
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    name, restarts = container["name"], container.get("restartCount", 0)
    waiting = state.get("waiting") or {}
    if ended and (restarts or ended.get("exitCode")):
        how = "ran out of memory" if ended.get("reason") == "OOMKilled" else f"exited {ended.get('exitCode', '?')}"
        return f"container {name} {how}, {counted(restarts, 'restart')}"
    if waiting.get("reason", "") not in _STARTING:
        return f"container {name}: {waiting['reason']}: {_cut(waiting.get('message', ''))}".removesuffix(": ")
    if "running" in state and container.get("ready") is False:
        return f"container {name} runs and is not ready"
    return ""


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}…"
