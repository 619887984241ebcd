"""Whether manifests are good: asked of the schemas with their rules, and of the operator's own models and checks."""

from typing import Any

from custom_kinds import is_known, stored
from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.crd import API_VERSION
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.api.v1alpha1.validation import check_group, check_queue

Document = dict[str, Any]


def accept(documents: list[Document]) -> None:
    """Raises AssertionError, or the operator's Refusal, for the first that is not good; unknown kinds always are."""
    kept = [stored(document) for document in documents if is_known(document)]
    own = [document for document in kept if document["apiVersion"] == API_VERSION]
    queues = {
        each["metadata"]["name"]: QueueSpec.model_validate(each["spec"]) for each in own if each["kind"] == "Queue"
    }
    for queue in queues.values():
        check_queue(queue)
    for each in own:
        if each["kind"] == "ConsumerGroup":
            spec = ConsumerGroupSpec.model_validate(each["spec"])
            check_group(spec, queues.get(spec.queue_ref.name, QueueSpec()))
