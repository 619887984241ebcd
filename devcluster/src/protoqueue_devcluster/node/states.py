"""What containers are doing, and what a pod's status says of it. Nothing here does anything."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from protoqueue_devcluster.kube.client import Object
from protoqueue_devcluster.node.fields import POD_IP
from protoqueue_devcluster.node.podspec import PodSpec


@dataclass(frozen=True)
class Waiting:
    reason: str
    message: str = ""


@dataclass(frozen=True)
class Running:
    started_at: datetime


@dataclass(frozen=True)
class Terminated:
    exit_code: int
    reason: str
    started_at: datetime
    finished_at: datetime
    message: str = ""


@dataclass(frozen=True)
class ContainerStatus:
    """One container as seen now; `restarts` is also the number of its log file."""

    name: str
    image: str
    state: Waiting | Running | Terminated
    last: Terminated | None = None
    restarts: int = 0
    ready: bool = False
    started: bool = False


CREATING = Waiting("ContainerCreating")
INITIALIZING = Waiting("PodInitializing")


def terminated(exit_code: int, started_at: datetime, finished_at: datetime) -> Terminated:
    """The end of a process; a negative exit code is a signal's, which Kubernetes reports as 128 + its number."""
    code = 128 - exit_code if exit_code < 0 else exit_code
    return Terminated(code, "Completed" if code == 0 else "Error", started_at, finished_at)


def restarts_after(policy: str, end: Terminated) -> bool:
    """Whether the restart policy wants a container to run again after this end."""
    return policy == "Always" or (policy == "OnFailure" and end.exit_code != 0)


def restart_delay_s(failures: int, initial_s: float) -> float:
    """Seconds to wait before restart number `failures`: none the first time, then doubling up to five minutes."""
    return 0.0 if failures <= 1 else min(initial_s * 2.0 ** min(failures - 2, 20), 300.0)


def pod_phase(pod: PodSpec, init: Sequence[ContainerStatus], main: Sequence[ContainerStatus]) -> str:
    """The phase as the kubelet derives it from the containers and the restart policy."""
    failed_for_good = [s for s in init if _ended(s) and _exit_code(s) != 0 and pod.restart_policy == "Never"]
    if failed_for_good:
        return "Failed"
    if not all(_ended(status) and _exit_code(status) == 0 for status in init):
        return "Pending"
    if all(_ended(status) and not restarts_after(pod.restart_policy, _end(status)) for status in main):
        return "Succeeded" if all(_exit_code(status) == 0 for status in main) else "Failed"
    if any(isinstance(status.state, Waiting) and status.last is None for status in main):
        return "Pending"
    return "Running"


def pod_status(
    pod: PodSpec,
    init: Sequence[ContainerStatus],
    main: Sequence[ContainerStatus],
    started_at: datetime,
    previous: Object,
    now: datetime,
) -> Object:
    """The status to publish. A pod that is over stays over.

    `previous` is what the API server has: its transition times and the conditions of others are kept.
    """
    phase = previous["phase"] if previous.get("phase") in ("Succeeded", "Failed") else pod_phase(pod, init, main)
    initialized = all(_ended(status) and _exit_code(status) == 0 for status in init)
    unready = [status.name for status in main if not status.ready]
    over = "PodCompleted" if phase == "Succeeded" else "PodFailed" if phase == "Failed" else None
    not_ready = (
        over or "ContainersNotReady",
        "" if over else f"containers with unready status: [{' '.join(unready)}]",
    )
    wanted = [
        ("PodReadyToStartContainers", True, "", ""),
        ("Initialized", initialized, "" if initialized else "ContainersNotInitialized", ""),
        ("Ready", not unready, *(("", "") if not unready else not_ready)),
        ("ContainersReady", not unready, *(("", "") if not unready else not_ready)),
        ("PodScheduled", True, "", ""),
    ]
    status: Object = {
        "phase": phase,
        "startTime": timestamp(started_at),
        "hostIP": POD_IP,
        "hostIPs": [{"ip": POD_IP}],
        "podIP": POD_IP,
        "podIPs": [{"ip": POD_IP}],
        "qosClass": previous.get("qosClass", "BestEffort"),
        "conditions": _conditions(wanted, previous.get("conditions") or [], now),
        "containerStatuses": [_status_entry(entry) for entry in main],
    }
    if init:
        status["initContainerStatuses"] = [_status_entry(entry) for entry in init]
    return status


def _conditions(wanted: Iterable[tuple[str, bool, str, str]], known: list[Object], now: datetime) -> list[Object]:
    by_type = {condition["type"]: condition for condition in known}
    result = []
    for kind, holds, reason, message in wanted:
        value = "True" if holds else "False"
        before = by_type.pop(kind, None)
        since = before["lastTransitionTime"] if before and before["status"] == value else timestamp(now)
        condition = {"type": kind, "status": value, "lastProbeTime": None, "lastTransitionTime": since}
        result.append(condition | {k: v for k, v in (("reason", reason), ("message", message)) if v})
    return [*result, *by_type.values()]


def _status_entry(status: ContainerStatus) -> Object:
    return {
        "name": status.name,
        "image": status.image,
        "imageID": "",
        "containerID": f"process://{status.name}/{status.restarts}",
        "ready": status.ready,
        "started": status.started,
        "restartCount": status.restarts,
        "state": _state(status.state),
        "lastState": _state(status.last) if status.last else {},
    }


def _state(state: Waiting | Running | Terminated) -> Object:
    match state:
        case Waiting(reason, message):
            return {"waiting": {"reason": reason} | ({"message": message} if message else {})}
        case Running(started_at):
            return {"running": {"startedAt": timestamp(started_at)}}
        case Terminated(exit_code, reason, started_at, finished_at, message):
            detail: Object = {"exitCode": exit_code, "reason": reason}
            detail |= {"startedAt": timestamp(started_at), "finishedAt": timestamp(finished_at)}
            return {"terminated": detail | ({"message": message} if message else {})}


def previous_life(entry: Object, now: datetime) -> tuple[int, Terminated | None]:
    """Restart count and end of a container that ran under a node process that is gone; no end if it never ran.

    What was running then is dead by now: its end was not seen, so it is told as a kill.
    """
    state = entry.get("state") or {}
    if running := state.get("running"):
        end = Terminated(137, "Error", parse_timestamp(running["startedAt"]), now, "the node process went away")
        return entry.get("restartCount", 0), end
    if ended := state.get("terminated") or (entry.get("lastState") or {}).get("terminated"):
        return entry.get("restartCount", 0), _parse_terminated(ended)
    return entry.get("restartCount", 0), None


def _parse_terminated(entry: dict[str, Any]) -> Terminated:
    start, finish = (parse_timestamp(entry[field]) for field in ("startedAt", "finishedAt"))
    return Terminated(entry["exitCode"], entry.get("reason", ""), start, finish, entry.get("message", ""))


def _ended(status: ContainerStatus) -> bool:
    return isinstance(status.state, Terminated)


def _end(status: ContainerStatus) -> Terminated:
    assert isinstance(status.state, Terminated)
    return status.state


def _exit_code(status: ContainerStatus) -> int:
    return _end(status).exit_code


def timestamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> datetime:
    return datetime.fromisoformat(text)
