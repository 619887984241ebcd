"""The finalizer: an object stays until what it stands for in JetStream has been seen to."""

from protoqueue_operator.core.resources import FINALIZER, Group, Queue
from protoqueue_operator.reconcile.runtime import Runtime


async def hold(resource: Queue | Group, runtime: Runtime) -> None:
    """Put the finalizer on before anything is made. Raises ApiError, also Conflict where the object has moved on."""
    if FINALIZER not in resource.meta.finalizers:
        await _write(resource, (*resource.meta.finalizers, FINALIZER), runtime)


async def release(resource: Queue | Group, runtime: Runtime) -> None:
    """Let the object go. Raises ApiError, also Conflict where the object has moved on."""
    if FINALIZER in resource.meta.finalizers:
        rest = tuple(finalizer for finalizer in resource.meta.finalizers if finalizer != FINALIZER)
        await _write(resource, rest, runtime)


async def _write(resource: Queue | Group, finalizers: tuple[str, ...], runtime: Runtime) -> None:
    meta = resource.meta
    body = await runtime.kubernetes.set_finalizers(meta.key, meta.resource_version, finalizers)
    runtime.cache.observe_answer(meta.key, body)
