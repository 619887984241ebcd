"""What was last applied for a group whose current specification, or that of its Queue, is refused.

While the operator runs it remembers. After a restart `pq-config` still has the last created consumers, and the scaling
part of a specification that is refused for another reason is usable.
"""

import logging

from protoqueue.protocol.v1 import config_pb2 as pb
from protoqueue_operator.api.v1alpha1.consumer_group import ConsumerGroupSpec
from protoqueue_operator.api.v1alpha1.errors import BrokerUnavailable, Refusal
from protoqueue_operator.api.v1alpha1.objects import Group, Queue
from protoqueue_operator.api.v1alpha1.queue import QueueSpec
from protoqueue_operator.api.v1alpha1.validation import check_scaling
from protoqueue_operator.autoscaling.state import LastApplied
from protoqueue_operator.jetstream.apply import read_config
from protoqueue_operator.jetstream.broker import Homes
from protoqueue_operator.jetstream.runtime_config import stored_consumers
from protoqueue_operator.runtime.client import ApiError

logger = logging.getLogger(__name__)


async def recovered(group: Group, queue: Queue | None, homes: Homes) -> LastApplied | None:
    """None if the group was never applied, or its scaling settings are unknown. Raises nothing."""
    if queue is None or not isinstance(queue.spec, QueueSpec) or not isinstance(group.spec, ConsumerGroupSpec):
        return None
    try:
        check_scaling(group.spec)
        configs = (await homes.home_of(queue, queue.spec)).broker.configs
        entry = await read_config(configs, group.name.config_key, pb.GroupConfig)
        of_queue = await read_config(configs, group.name.queue.config_key, pb.QueueConfig)
    except (Refusal, BrokerUnavailable, ApiError) as error:
        logger.info("group not recovered: object=%s error=%s", group.meta.key, error)
        return None
    if entry is None or of_queue is None:
        return None
    consumers, is_ordered = stored_consumers(entry, of_queue), of_queue.ordering_partitions > 0
    return LastApplied(group.spec, consumers, entry.paused, is_ordered, entry.generation)
