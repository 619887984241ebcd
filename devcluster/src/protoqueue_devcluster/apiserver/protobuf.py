"""The few built-in objects that Go clients send as protobuf and will not send otherwise.

helm keeps its releases so, and so does `kubectl create` send what it makes of its arguments.

The numbers are those of Kubernetes' generated.proto files. A kind that is not listed is refused as a server without
protobuf would refuse it, and so is a workload that holds more than is listed: to leave that out would change it.
"""

from collections.abc import Mapping
from typing import Any

from .protobuf_wire import Field, Message, NotListed, as_base64, as_bytes, int_or_string, nested, read, text, time
from .statuses import bad_request, unsupported_media_type

MAGIC = b"k8s\0"
JSON_TYPES = ["application/json", "application/yaml"]


def parse_protobuf(raw: bytes) -> dict[str, Any]:
    """The object in a protobuf request. Raises ApiError: 400 for a body that is none, 415 for what is not listed."""
    if not raw.startswith(MAGIC):
        raise bad_request("the provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        envelope = read(_UNKNOWN, raw[len(MAGIC) :])
        identity = envelope.get("typeMeta", {})
        message = _MESSAGES.get(identity.get("kind", ""))
        if message is None:
            raise unsupported_media_type(JSON_TYPES)
        return {**identity, **read(message, envelope.get("raw", b""))}
    except NotListed:
        raise unsupported_media_type(JSON_TYPES) from None
    except (IndexError, UnicodeDecodeError) as error:
        raise bad_request(f"the object provided is unrecognized: {error}") from None


_TYPE_META = Message({1: Field("apiVersion", text), 2: Field("kind", text)})
_UNKNOWN = Message({1: Field("typeMeta", nested(_TYPE_META)), 2: Field("raw", as_bytes)})
_OWNER = Message(
    {
        1: Field("kind", text),
        3: Field("name", text),
        4: Field("uid", text),
        5: Field("apiVersion", text),
        6: Field("controller", bool),
        7: Field("blockOwnerDeletion", bool),
    }
)
_META = Message(
    {
        1: Field("name", text),
        2: Field("generateName", text),
        3: Field("namespace", text),
        5: Field("uid", text),
        6: Field("resourceVersion", text),
        8: Field("creationTimestamp", time),
        11: Field("labels", text, entries=True),
        12: Field("annotations", text, entries=True),
        13: Field("ownerReferences", nested(_OWNER), many=True),
        14: Field("finalizers", text, many=True),
    }
)
_METADATA = Field("metadata", nested(_META))
_PRECONDITIONS = Message({1: Field("uid", text), 2: Field("resourceVersion", text)})
_SELECTOR = Message({1: Field("matchLabels", text, entries=True)}, exact=True)

_CONTAINER_PORT = Message({1: Field("name", text), 3: Field("containerPort", int), 4: Field("protocol", text)}, True)
_CONTAINER = Message(
    {
        1: Field("name", text),
        2: Field("image", text),
        3: Field("command", text, many=True),
        4: Field("args", text, many=True),
        6: Field("ports", nested(_CONTAINER_PORT), many=True),
        14: Field("imagePullPolicy", text),
    },
    exact=True,
)
_POD_SPEC = Message({2: Field("containers", nested(_CONTAINER), many=True), 3: Field("restartPolicy", text)}, True)
_POD_TEMPLATE = Message({1: _METADATA, 2: Field("spec", nested(_POD_SPEC))}, exact=True)
_DEPLOYMENT_SPEC = Message(
    {
        1: Field("replicas", int),
        2: Field("selector", nested(_SELECTOR)),
        3: Field("template", nested(_POD_TEMPLATE)),
    },
    exact=True,
)
_JOB_SPEC = Message({6: Field("template", nested(_POD_TEMPLATE))}, exact=True)
_JOB_TEMPLATE = Message({1: _METADATA, 2: Field("spec", nested(_JOB_SPEC))}, exact=True)
_CRON_JOB_SPEC = Message({1: Field("schedule", text), 5: Field("jobTemplate", nested(_JOB_TEMPLATE))}, exact=True)
_SERVICE_PORT = Message(
    {
        1: Field("name", text),
        2: Field("protocol", text),
        3: Field("port", int),
        4: Field("targetPort", int_or_string),
    },
    exact=True,
)
_SERVICE_SPEC = Message(
    {
        1: Field("ports", nested(_SERVICE_PORT), many=True),
        2: Field("selector", text, entries=True),
        3: Field("clusterIP", text),
        4: Field("type", text),
        10: Field("externalName", text),
    },
    exact=True,
)
_RULE = Message(
    {
        1: Field("verbs", text, many=True),
        2: Field("apiGroups", text, many=True),
        3: Field("resources", text, many=True),
        4: Field("resourceNames", text, many=True),
        5: Field("nonResourceURLs", text, many=True),
    },
    exact=True,
)
_SUBJECT = Message(
    {1: Field("kind", text), 2: Field("apiGroup", text), 3: Field("name", text), 4: Field("namespace", text)},
    exact=True,
)
_ROLE_REF = Message({1: Field("apiGroup", text), 2: Field("kind", text), 3: Field("name", text)}, exact=True)
_ROLE = Message({1: _METADATA, 2: Field("rules", nested(_RULE), many=True)}, exact=True)
_BINDING = Message(
    {1: _METADATA, 2: Field("subjects", nested(_SUBJECT), many=True), 3: Field("roleRef", nested(_ROLE_REF))},
    exact=True,
)

_MESSAGES: Mapping[str, Message] = {
    "Secret": Message(
        {
            1: _METADATA,
            2: Field("data", as_base64, entries=True),
            3: Field("type", text),
            4: Field("stringData", text, entries=True),
            5: Field("immutable", bool),
        }
    ),
    "ConfigMap": Message(
        {
            1: _METADATA,
            2: Field("data", text, entries=True),
            3: Field("binaryData", as_base64, entries=True),
            4: Field("immutable", bool),
        }
    ),
    "Namespace": Message({1: _METADATA}),
    "ServiceAccount": Message({1: _METADATA}),
    "Deployment": Message({1: _METADATA, 2: Field("spec", nested(_DEPLOYMENT_SPEC))}, exact=True),
    "Job": Message({1: _METADATA, 2: Field("spec", nested(_JOB_SPEC))}, exact=True),
    "CronJob": Message({1: _METADATA, 2: Field("spec", nested(_CRON_JOB_SPEC))}, exact=True),
    "Service": Message({1: _METADATA, 2: Field("spec", nested(_SERVICE_SPEC))}, exact=True),
    "Role": _ROLE,
    "ClusterRole": _ROLE,
    "RoleBinding": _BINDING,
    "ClusterRoleBinding": _BINDING,
    "DeleteOptions": Message(
        {
            1: Field("gracePeriodSeconds", int),
            2: Field("preconditions", nested(_PRECONDITIONS)),
            3: Field("orphanDependents", bool),
            4: Field("propagationPolicy", text),
            5: Field("dryRun", text, many=True),
        }
    ),
}
