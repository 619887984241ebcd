"""The Deployment of a group that has a template, from the first apply to its end."""

from collections.abc import Mapping
from contextlib import suppress

from protoqueue_operator.adapters.kubernetes import Gone, Invalid
from protoqueue_operator.core.consumer_group import ConsumerGroupSpec
from protoqueue_operator.core.deployment import (
    Deployment,
    WorkerConnection,
    check_ownership,
    desired_deployment,
    is_as_desired,
    is_superfluous,
    selector,
    taken_over,
)
from protoqueue_operator.core.refusals import InvalidSpec
from protoqueue_operator.core.resources import Group, Key
from protoqueue_operator.reconcile.brokers import Home
from protoqueue_operator.reconcile.runtime import Runtime


async def bring_workers(group: Group, spec: ConsumerGroupSpec, home: Home, runtime: Runtime) -> None:
    """Make the Deployment as the template says; without a template, end the one there was.

    Raises ForeignAsset, InvalidSpec where the API server does not take the template, and ApiError.
    """
    async with runtime.state_of(group.meta.key, group.meta.uid).lock:
        if spec.worker and spec.worker.template is not None:
            await _apply(group, spec, spec.worker.template, _connection(home, runtime), runtime)
        else:
            await _end(group, spec, runtime)


def workers_trouble(group: Group, runtime: Runtime) -> str | None:
    """Why workers that the operator runs do not come up, as far as the watch has said."""
    known = runtime.cache.deployments.get(_key(group))
    return known.trouble if known and known.controller_uid == group.meta.uid else None


def _connection(home: Home, runtime: Runtime) -> WorkerConnection:
    if home.secret is None:
        return WorkerConnection(runtime.settings.worker_nats_url or home.broker.connection.credentials.shown_url)
    return WorkerConnection("", home.secret, home.broker.connection.credentials, home.version)


async def _apply(
    group: Group,
    spec: ConsumerGroupSpec,
    template: dict[str, object],
    connection: WorkerConnection,
    runtime: Runtime,
) -> None:
    key = _key(group)
    desired = desired_deployment(group, template, connection, None)
    known = runtime.cache.deployments.get(key)
    if known and is_as_desired(known, group, desired):
        return
    live = await _read(key, runtime)
    check_ownership(group, live)
    if live and is_as_desired(live, group, desired):
        return
    replicas = _first_size(spec) if live is None else live.replicas if live.applies_replicas else None
    try:
        body = await runtime.kubernetes.apply(key, desired_deployment(group, template, connection, replicas))
    except Invalid as error:
        raise InvalidSpec(f"the API server does not take it: {error}", field="spec.worker.template") from error
    deployment = runtime.cache.observe_deployment(body)
    _announce_drift(group, live, deployment, desired, runtime)
    runtime.reporter.report(group, {"selector": selector(group.meta.name), "replicas": deployment.observed_replicas})


def _announce_drift(
    group: Group, live: Deployment | None, repaired: Deployment, desired: Mapping[str, object], runtime: Runtime
) -> None:
    """What is still missing when it has been applied was nobody's doing: it leaves no trace."""
    if live is None:
        before = runtime.state_of(group.meta.key, group.meta.uid).established
        if before and before.spec.worker and before.spec.worker.template is not None:
            runtime.reporter.drift(group.meta, "deleted", f"the Deployment {group.meta.name}")
        return
    traceless = taken_over(repaired, desired)
    if changed := [field for field in taken_over(live, desired) if field not in traceless]:
        runtime.reporter.drift(group.meta, "changed", f"the Deployment {group.meta.name}: {', '.join(changed)}")


async def _end(group: Group, spec: ConsumerGroupSpec, runtime: Runtime) -> None:
    """What the watch has not shown yet is ended when it does: each Deployment seen calls for another look."""
    known = runtime.cache.deployments.get(_key(group))
    if known is None or not is_superfluous(known, group, spec):
        return
    with suppress(Gone):
        await runtime.kubernetes.delete(known.key, known.uid)
    runtime.cache.remove(known.key, known.uid)
    runtime.reporter.event(
        group.meta, "Normal", "WorkersEnded", "spec.worker has no template: the Deployment was deleted"
    )


async def _read(key: Key, runtime: Runtime) -> Deployment | None:
    """As it is now, not as the watch last said: what is applied must not undo a scaling of a moment ago."""
    try:
        return runtime.cache.observe_deployment(await runtime.kubernetes.get(key))
    except Gone:
        return None


def _key(group: Group) -> Key:
    return Key("Deployment", group.meta.namespace, group.meta.name)


def _first_size(spec: ConsumerGroupSpec) -> int:
    return spec.autoscale.min_replicas if spec.autoscale else spec.replicas
