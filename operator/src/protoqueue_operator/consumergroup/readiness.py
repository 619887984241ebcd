"""The condition Ready of a group."""

from collections.abc import Mapping

from protoqueue_operator.api.v1alpha1.conditions import Condition
from protoqueue_operator.api.v1alpha1.deployment import Deployment
from protoqueue_operator.api.v1alpha1.errors import ScaleTargetTaken
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.api.v1alpha1.objects import Group
from protoqueue_operator.api.v1alpha1.status import not_ready, noted, ready
from protoqueue_operator.autoscaling.state import GroupState
from protoqueue_operator.autoscaling.target_claims import TargetClaims
from protoqueue_operator.autoscaling.worker_health import deployment_trouble


def ready_condition(
    group: Group, state: GroupState, claims: TargetClaims, deployments: Mapping[Key, Deployment]
) -> Condition:
    """Applied as specified is not enough if there is nothing to size, another group sizes it, or no worker comes up."""
    applied = state.last_applied
    generation = (applied.generation if applied else None) or group.meta.generation
    if taken := claims.taken_by_another(group):
        return not_ready(generation, ScaleTargetTaken.reason, str(taken))
    if state.scale and state.scale.trouble:
        return not_ready(generation, "TargetNotFound", f"spec.worker.scaleTargetRef: {state.scale.trouble}")
    if state.failure:
        return not_ready(generation, "WorkersFailing", state.failure)
    if trouble := deployment_trouble(group, deployments):
        return not_ready(generation, "WorkersFailing", f"the Deployment {group.meta.name}: {trouble}")
    message = noted("consumers and workers are as specified", group.unknown)
    return ready(generation, message, paused=applied is not None and applied.paused)
