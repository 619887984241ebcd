"""The pod's own subresources: binding, eviction, log."""

from collections.abc import Mapping
from typing import Any

from aiohttp import ClientError, ClientResponse, ClientSession

from . import statuses
from .deletion import DeleteOptions, Deletion, parse_delete_options
from .kinds import Kind
from .registry import Registry, timestamp
from .statuses import ApiError, bad_request

Object = dict[str, Any]
LOG_OPTIONS = ("follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes")
ADDRESS_PREFERENCE = ("Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP")
"""By which of its addresses a node is reached, as `--kubelet-preferred-address-types` has it unless it is set."""


def success(code: int) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code}


def bind(registry: Registry, kind: Kind, namespace: str, name: str, binding: Object) -> Object:
    """Assign a pod to the node its Binding targets. Raises ApiError 400, 404, and 409 once it is assigned."""
    if (binding.get("metadata") or {}).get("name") != name:
        raise bad_request("name in URL does not match name in Binding object")
    pod = registry.get(kind, namespace, name).object
    node = (binding.get("target") or {}).get("name")
    if not node:
        raise bad_request("target.name is required")
    if pod["metadata"].get("deletionTimestamp"):
        raise statuses.conflict("", "pods/binding", name, f"pod {name} is being deleted, cannot be assigned to a host")
    assigned = pod["spec"].get("nodeName")
    if assigned:
        text = f'pod {name} is already assigned to node "{assigned}"'
        raise statuses.conflict("", "pods/binding", name, text)
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": timestamp()}
    conditions = [each for each in pod["status"].get("conditions", []) if each["type"] != "PodScheduled"]
    status = {**pod["status"], "conditions": [*conditions, scheduled]}
    bound = {**pod, "spec": {**pod["spec"], "nodeName": node}, "status": status}
    registry.store.put(kind.storage_key, namespace, name, bound)
    return success(201)


def evict(deletion: Deletion, kind: Kind, namespace: str, name: str, eviction: Object) -> Object:
    """Delete a pod as its Eviction says. Raises ApiError 404, 409."""
    options: DeleteOptions = parse_delete_options(eviction.get("deleteOptions"), {})
    deletion.delete(kind, namespace, name, options)
    return success(201)


def log_url(registry: Registry, pod: Object, query: Mapping[str, str]) -> tuple[str, dict[str, str]] | None:
    """Where the kubelet serves a container's log, with what to ask of it; None while the pod has no node.

    Raises ApiError 400 for a container that is none of the pod's.
    """
    metadata = pod["metadata"]
    container = query.get("container") or _only_container(pod)
    names = [each["name"] for each in (*pod["spec"]["containers"], *pod["spec"].get("initContainers", []))]
    if container not in names:
        raise bad_request(f"container {container} is not valid for pod {metadata['name']}")
    node_name = pod["spec"].get("nodeName")
    if not node_name:
        return None
    node_kind = registry.kinds.find("", "v1", "nodes")
    if node_kind is None:
        raise RuntimeError("the table of kinds lacks nodes")
    status = registry.get(node_kind, "", node_name).object.get("status", {})
    addresses = {each["type"]: each["address"] for each in status.get("addresses", [])}
    address = next((addresses[kind] for kind in ADDRESS_PREFERENCE if kind in addresses), None)
    port = status.get("daemonEndpoints", {}).get("kubeletEndpoint", {}).get("Port")
    if not address or not port:
        raise bad_request(f"node {node_name} does not say where its kubelet listens")
    path = f"/containerLogs/{metadata['namespace']}/{metadata['name']}/{container}"
    host = f"[{address}]" if ":" in address else address
    return f"https://{host}:{port}{path}", {name: query[name] for name in LOG_OPTIONS if name in query}


def _only_container(pod: Object) -> str:
    containers = [each["name"] for each in pod["spec"]["containers"]]
    chosen = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if len(containers) == 1 or chosen in containers:
        return str(chosen or containers[0])
    listed = " ".join(containers)
    name = pod["metadata"]["name"]
    raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{listed}]")


async def open_log(session: ClientSession, url: str, query: Mapping[str, str]) -> ClientResponse:
    """The kubelet's answer, not read yet. Raises ApiError with the kubelet's words, or 500 where it is away."""
    try:
        # The kubelet's certificate is self-made, as on many real clusters.
        response = await session.get(url, params=dict(query), ssl=False, timeout=None)
    except (ClientError, OSError) as error:
        raise statuses.internal_error(f"Get {url!r}: {error}") from None
    if response.status == 200:
        return response
    text = (await response.text()).strip()
    response.release()
    reason = {404: "NotFound", 400: "BadRequest"}.get(response.status, "InternalError")
    raise ApiError(response.status, reason, text or f"the kubelet answered {response.status}")
