"""The columns in which the real server prints built-in kinds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from .jsonpath import find
from .selectors import label_selector_text

Object = dict[str, Any]
NONE = "<none>"
CREATION_TEXT = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed "
    "to be set in happens-before order across separate operations. Clients may not set this value. It is represented "
    "in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)


@dataclass(frozen=True)
class Row:
    """An object to print, and when."""

    object: Object
    now: datetime


Cell = Callable[[Row], Any]


@dataclass(frozen=True)
class Printed:
    """One column: `priority` 1 shows only in wide output."""

    name: str
    cell: Cell
    type: str = "string"
    priority: int = 0
    description: str = ""


def found(obj: Object, path: str) -> list[Any]:
    """What a JSONPath leads to; nothing for a path this server does not understand."""
    try:
        return find(obj, path)
    except ValueError:
        return []


def text(value: Any) -> str:
    """A value as Go prints it in a cell."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + " ".join(text(each) for each in value) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{name}:{text(each)}" for name, each in sorted(value.items())) + "]"
    return "" if value is None else str(value)


def parse_time(value: Any) -> datetime | None:
    """A moment in time; None for anything that is no RFC 3339 text with a zone."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def age(value: Any, now: datetime) -> str:
    moment = parse_time(value) if value else None
    return "<unknown>" if moment is None else short_duration(now - moment)


def short_duration(span: timedelta) -> str:
    """As kubectl shortens ages: `42s`, `3m5s`, `17m`, `5h12m`, `2d3h`, `14d`, `3y20d`."""
    seconds = int(span.total_seconds())
    if seconds < 0:
        return "0s" if seconds >= -2 else "<invalid>"
    if seconds < 120:
        return f"{seconds}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 10:
        return _pair(minutes, "m", seconds % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _pair(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _pair(days, "d", hours % 24, "h")
    if days < 2 * 365:
        return f"{days}d"
    return _pair(days // 365, "y", days % 365, "d") if days < 8 * 365 else f"{days // 365}y"


def _pair(first: int, unit: str, second: int, small: str) -> str:
    return f"{first}{unit}{second}{small}" if second else f"{first}{unit}"


def at(path: str, absent: Any = NONE) -> Cell:
    """A cell holding the first value at a JSONPath."""

    def cell(row: Row) -> Any:
        values = found(row.object, path)
        return values[0] if values and values[0] is not None else absent

    return cell


def count(path: str) -> Cell:
    return lambda row: len((found(row.object, path) or [None])[0] or ())


def since(path: str) -> Cell:
    return lambda row: age((found(row.object, path) or [None])[0], row.now)


def joined(path: str) -> Cell:
    return lambda row: ",".join(text(each) for each in found(row.object, path)) or NONE


def selector(path: str) -> Cell:
    return lambda row: label_selector_text((found(row.object, path) or [{}])[0]) or NONE


def _pod_ready(row: Row) -> str:
    statuses = row.object.get("status", {}).get("containerStatuses", [])
    total = len(row.object.get("spec", {}).get("containers", []))
    return f"{sum(bool(each.get('ready')) for each in statuses)}/{total}"


def _pod_status(row: Row) -> str:
    status = row.object.get("status", {})
    reason = status.get("reason") or status.get("phase", "Unknown")
    for container in status.get("containerStatuses", []):
        state = container.get("state", {})
        waiting, ended = state.get("waiting"), state.get("terminated")
        if waiting and waiting.get("reason"):
            reason = waiting["reason"]
        elif ended and ended.get("reason"):
            reason = ended["reason"]
        elif ended:
            reason = f"ExitCode:{ended.get('exitCode', 0)}"
    return "Terminating" if row.object["metadata"].get("deletionTimestamp") else reason


def _pod_restarts(row: Row) -> str:
    statuses = row.object.get("status", {}).get("containerStatuses", [])
    total = sum(each.get("restartCount", 0) for each in statuses)
    ends = [parse_time(each["lastState"]["terminated"].get("finishedAt")) for each in statuses
            if each.get("lastState", {}).get("terminated")]  # fmt: skip
    latest = max((each for each in ends if each is not None), default=None)
    return f"{total} ({short_duration(row.now - latest)} ago)" if total and latest else str(total)


def _namespace_status(row: Row) -> str:
    return str(row.object.get("status", {}).get("phase", ""))


def _deployment_ready(row: Row) -> str:
    return f"{row.object.get('status', {}).get('readyReplicas', 0)}/{row.object.get('spec', {}).get('replicas', 0)}"


def _node_status(row: Row) -> str:
    conditions = row.object.get("status", {}).get("conditions", [])
    ready = next((each.get("status") for each in conditions if each.get("type") == "Ready"), None)
    word = {"True": "Ready", None: "Unknown"}.get(ready, "NotReady")
    return f"{word},SchedulingDisabled" if row.object.get("spec", {}).get("unschedulable") else word


def _node_roles(row: Row) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = row.object["metadata"].get("labels") or {}
    return ",".join(sorted(key.removeprefix(prefix) for key in labels if key.startswith(prefix))) or NONE


def _service_ports(row: Row) -> str:
    ports = row.object.get("spec", {}).get("ports", [])
    return ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in ports) or NONE


def _service_selector(row: Row) -> str:
    return label_selector_text({"matchLabels": row.object.get("spec", {}).get("selector")}) or NONE


def _event_object(row: Row) -> str:
    involved = row.object.get("involvedObject") or row.object.get("regarding") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _event_seen(row: Row) -> str:
    series = row.object.get("series") or {}
    last = series.get("lastObservedTime") or row.object.get("lastTimestamp") or row.object.get("eventTime")
    return age(last or row.object.get("firstTimestamp") or row.object["metadata"].get("creationTimestamp"), row.now)


def _job_status(row: Row) -> str:
    conditions = {
        each["type"] for each in row.object.get("status", {}).get("conditions", []) if each.get("status") == "True"
    }
    return next((each for each in ("Complete", "Failed", "Suspended") if each in conditions), "Running")


def _job_completions(row: Row) -> str:
    return f"{row.object.get('status', {}).get('succeeded', 0)}/{row.object.get('spec', {}).get('completions', 1)}"


def _data_count(row: Row) -> int:
    return len(row.object.get("data") or {}) + len(row.object.get("binaryData") or {})


NAME = Printed("Name", at(".metadata.name"))
AGE = Printed("Age", since(".metadata.creationTimestamp"), description=CREATION_TEXT)
CREATED = Printed("Created At", at(".metadata.creationTimestamp"), "date")
CONTAINERS = Printed("Containers", joined(".spec.template.spec.containers[*].name"), priority=1)
IMAGES = Printed("Images", joined(".spec.template.spec.containers[*].image"), priority=1)
SELECTOR = Printed("Selector", selector(".spec.selector"), priority=1)
PLAIN = (NAME, AGE)

BUILT_IN: Mapping[tuple[str, str], tuple[Printed, ...]] = {
    ("", "pods"): (
        NAME, Printed("Ready", _pod_ready), Printed("Status", _pod_status), Printed("Restarts", _pod_restarts), AGE,
        Printed("IP", at(".status.podIP"), priority=1), Printed("Node", at(".spec.nodeName"), priority=1),
        Printed("Nominated Node", at(".status.nominatedNodeName"), priority=1),
        Printed("Readiness Gates", lambda _: NONE, priority=1),
    ),
    ("", "namespaces"): (NAME, Printed("Status", _namespace_status), AGE),
    ("", "nodes"): (
        NAME, Printed("Status", _node_status), Printed("Roles", _node_roles), AGE,
        Printed("Version", at(".status.nodeInfo.kubeletVersion", "")),
        Printed("Internal-IP", at('.status.addresses[?(@.type=="InternalIP")].address'), priority=1),
        Printed("OS-Image", at(".status.nodeInfo.osImage", "<unknown>"), priority=1),
    ),
    ("", "configmaps"): (NAME, Printed("Data", _data_count, "integer"), AGE),
    ("", "secrets"): (NAME, Printed("Type", at(".type")), Printed("Data", count(".data"), "integer"), AGE),
    ("", "services"): (
        NAME, Printed("Type", at(".spec.type")), Printed("Cluster-IP", at(".spec.clusterIP")),
        Printed("External-IP", lambda _: NONE), Printed("Port(s)", _service_ports), AGE,
        Printed("Selector", _service_selector, priority=1),
    ),
    ("", "serviceaccounts"): (NAME, Printed("Secrets", count(".secrets"), "integer"), AGE),
    ("", "events"): (
        Printed("Last Seen", _event_seen), Printed("Type", at(".type", "")), Printed("Reason", at(".reason", "")),
        Printed("Object", _event_object), Printed("Subobject", at(".involvedObject.fieldPath", ""), priority=1),
        Printed("Source", at(".source.component", ""), priority=1), Printed("Message", at(".message", "")),
        Printed("First Seen", since(".firstTimestamp"), priority=1),
        Printed("Count", at(".count", 1), "integer", priority=1), Printed("Name", at(".metadata.name"), priority=1),
    ),
    ("apps", "deployments"): (
        NAME, Printed("Ready", _deployment_ready), Printed("Up-to-date", at(".status.updatedReplicas", 0), "integer"),
        Printed("Available", at(".status.availableReplicas", 0), "integer"), AGE, CONTAINERS, IMAGES, SELECTOR,
    ),
    ("apps", "replicasets"): (
        NAME, Printed("Desired", at(".spec.replicas", 0), "integer"),
        Printed("Current", at(".status.replicas", 0), "integer"),
        Printed("Ready", at(".status.readyReplicas", 0), "integer"), AGE, CONTAINERS, IMAGES, SELECTOR,
    ),
    ("apps", "statefulsets"): (NAME, Printed("Ready", _deployment_ready), AGE, CONTAINERS, IMAGES),
    ("batch", "jobs"): (
        NAME, Printed("Status", _job_status), Printed("Completions", _job_completions),
        Printed("Duration", since(".status.startTime")), AGE, CONTAINERS, IMAGES, SELECTOR,
    ),
    ("coordination.k8s.io", "leases"): (NAME, Printed("Holder", at(".spec.holderIdentity", "")), AGE),
    ("rbac.authorization.k8s.io", "roles"): (NAME, CREATED),
    ("rbac.authorization.k8s.io", "clusterroles"): (NAME, CREATED),
    ("rbac.authorization.k8s.io", "rolebindings"): (
        NAME, Printed("Role", lambda row: f"{row.object['roleRef']['kind']}/{row.object['roleRef']['name']}"), AGE,
    ),
    ("rbac.authorization.k8s.io", "clusterrolebindings"): (
        NAME, Printed("Role", lambda row: f"{row.object['roleRef']['kind']}/{row.object['roleRef']['name']}"), AGE,
    ),
    ("apiextensions.k8s.io", "customresourcedefinitions"): (NAME, CREATED),
    ("policy", "poddisruptionbudgets"): (
        NAME, Printed("Min Available", at(".spec.minAvailable", "N/A")),
        Printed("Max Unavailable", at(".spec.maxUnavailable", "N/A")),
        Printed("Allowed Disruptions", at(".status.disruptionsAllowed", 0), "integer"), AGE,
    ),
    ("networking.k8s.io", "networkpolicies"): (NAME, Printed("Pod-Selector", selector(".spec.podSelector")), AGE),
}  # fmt: skip
