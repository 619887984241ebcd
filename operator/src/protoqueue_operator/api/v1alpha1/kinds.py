"""The kinds of objects that the operator watches."""

from protoqueue_operator.api.v1alpha1.crd import API_VERSION
from protoqueue_operator.api.v1alpha1.labels import GROUP_LABEL
from protoqueue_operator.api.v1alpha1.meta import Kind

QUEUE = Kind("Queue", API_VERSION, "queues")
CONSUMER_GROUP = Kind("ConsumerGroup", API_VERSION, "consumergroups")
REDRIVE = Kind("Redrive", API_VERSION, "redrives")
DEPLOYMENT = Kind("Deployment", "apps/v1", "deployments", selector=GROUP_LABEL)

CUSTOM_KINDS = (QUEUE, CONSUMER_GROUP, REDRIVE)
WATCHED_KINDS = (QUEUE, CONSUMER_GROUP, REDRIVE, DEPLOYMENT)
