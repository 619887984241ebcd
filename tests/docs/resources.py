"""Whether a manifest is good: asked of the schema with its rules, and of the operator's own models and checks."""

import copy
from dataclasses import dataclass
from typing import Any

from protoqueue_devcluster.apiserver.crds import versions_of
from protoqueue_devcluster.apiserver.schema import Unknown, fill_defaults, prune
from protoqueue_devcluster.apiserver.validation import validate
from protoqueue_operator.core.consumer_group import ConsumerGroupSpec
from protoqueue_operator.core.crds import API_VERSION, crds
from protoqueue_operator.core.queue import QueueSpec
from protoqueue_operator.core.validation import check_group, check_queue

SCHEMAS = {kind.kind: kind.schema for definition in crds().values() for kind in versions_of(definition)}


@dataclass(frozen=True)
class Manifest:
    document: dict[str, Any]

    @property
    def kind(self) -> str | None:
        """None for what is not ProtoQueue's."""
        return self.document["kind"] if self.document["apiVersion"] == API_VERSION else None


def accept(manifests: list[Manifest]) -> None:
    """Raises AssertionError, or the operator's Refusal, for the first manifest that is not good."""
    queues = {
        one.document["metadata"]["name"]: QueueSpec.model_validate(_stored(one)["spec"])
        for one in manifests
        if one.kind == "Queue"
    }
    for queue in queues.values():
        check_queue(queue)
    for one in manifests:
        if one.kind == "ConsumerGroup":
            spec = ConsumerGroupSpec.model_validate(_stored(one)["spec"])
            check_group(spec, queues.get(spec.queue_ref.name, QueueSpec()))


def _stored(manifest: Manifest) -> dict[str, Any]:
    """As the API server would keep it."""
    assert manifest.kind
    schema = SCHEMAS[manifest.kind]
    unknown = Unknown()
    document: dict[str, Any] = fill_defaults(prune(copy.deepcopy(manifest.document), schema, unknown), schema)
    assert not unknown.paths, f"unknown fields: {unknown.paths}"
    causes = validate(document, None, schema)
    assert not causes, causes
    return document
