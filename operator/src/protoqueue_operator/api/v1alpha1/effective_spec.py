"""The effective settings of a group: its own over those of its queue.

Computed once, by the group's reconciler; everything after it (consumers, `pq-config`, scaling) reads them from here.
"""

from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.fields import Duration
from protoqueue_operator.api.v1alpha1.queue import QueueSpec, Retry


class EffectiveSpec(ConsumerGroupSpec):
    """A ConsumerGroup's specification with the queue's settings filled in; also paused while the queue is."""

    visibility_timeout: Duration
    retry: Retry  # type: ignore[assignment]


def effective_spec(group: ConsumerGroupSpec, queue: QueueSpec) -> EffectiveSpec:
    inherited = {
        "visibility_timeout": group.visibility_timeout or queue.visibility_timeout,
        "retry": group.retry.over(queue.retry) if group.retry else queue.retry,
        "paused": group.paused or queue.paused,
    }
    return EffectiveSpec.model_construct(**dict(group) | inherited)
