"""What the operator writes into the metadata of Kubernetes objects: labels, annotations, finalizer, field manager."""

FIELD_MANAGER = "protoqueue-operator"
"""As whom the operator writes fields, and the source of its Events."""

FINALIZER = "protoqueue.dev/operator"

GROUP_LABEL = "protoqueue.dev/consumer-group"
"""On a Deployment that the operator creates, and on its pods: the name of the ConsumerGroup."""

APPLIED_ANNOTATION = "protoqueue.dev/applied"
"""A digest of what was applied."""

ADOPT_ANNOTATION = "protoqueue.dev/adopt"
"""The uid of an earlier namespace, whose Queue of this name has left streams that the Queue takes over.

Who knows that uid has seen that namespace, or administers NATS: with a mere `true` the next tenant could take them.
"""

ABANDON_ANNOTATION = "protoqueue.dev/abandon"
"""With `true` a resource that is being deleted goes at once, and what is in NATS is left behind."""


def worker_selector(group: str) -> str:
    """The label selector of the pods of a group's Deployment, as text."""
    return f"{GROUP_LABEL}={group}"
