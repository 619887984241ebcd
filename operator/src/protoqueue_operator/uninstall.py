"""Before the operator is uninstalled: releases all its resources, which would be impossible afterwards."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from protoqueue.aio import cancel
from protoqueue_operator.api.v1alpha1.labels import FINALIZER
from protoqueue_operator.api.v1alpha1.meta import Key
from protoqueue_operator.runtime.client import ApiError, Conflict, Gone, Json, Kubernetes
from protoqueue_operator.runtime.leader_lease import RENEW_S, SURRENDER_S, held

logger = logging.getLogger(__name__)

HOLDER = "uninstall"
_KINDS = ("Redrive", "ConsumerGroup", "Queue")
_TRIES = 5


async def release_all(
    kubernetes: Kubernetes,
    lease: Key,
    namespaces: Sequence[str],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> int:
    """Take the Lease, so that no operator acts, and the finalizers off everything; returns off how many objects.

    What stands for them in JetStream stays, and so do the objects. No namespaces: all of them. Raises ApiError.
    """
    may_be_led = await _seize(kubernetes, lease)
    holding = asyncio.create_task(_hold(kubernetes, lease), name="hold the lease")
    try:
        if may_be_led:  # the leader stops when it next looks, or cannot look for so long
            await sleep(SURRENDER_S)
        released = 0
        for kind in _KINDS:
            for namespace in namespaces or (None,):
                released += await _release_kind(kubernetes, kind, namespace)
        return released
    finally:
        await cancel(holding)


async def _seize(kubernetes: Kubernetes, lease: Key) -> bool:
    """Returns whether an operator may still act: only a Lease without a holder proves that none does. Raises ApiError.

    A Lease that is gone may have been deleted under its holder. One that an earlier try of this has seized says nothing
    of whether its leader has noticed since.
    """
    while True:
        try:
            body = await kubernetes.get(lease)
            await kubernetes.put_lease(lease, held(body, HOLDER, _now()))
            return (body.get("spec") or {}).get("holderIdentity") not in (None, "")
        except Conflict:  # the leader has just renewed it
            continue
        except Gone:
            if await _created(kubernetes, lease):
                return True


async def _created(kubernetes: Kubernetes, lease: Key) -> bool:
    """False if another was first. Raises ApiError."""
    try:
        await kubernetes.create_lease(lease, held({}, HOLDER, _now()))
    except Conflict:
        return False
    return True


async def _hold(kubernetes: Kubernetes, lease: Key) -> None:
    while True:
        started = time.monotonic()
        try:
            await _seize(kubernetes, lease)
        except ApiError as error:
            logger.warning("lease not written: lease=%s error=%s", lease, error)
        await asyncio.sleep(max(0.1, started + RENEW_S - time.monotonic()))


async def _release_kind(kubernetes: Kubernetes, kind: str, namespace: str | None) -> int:
    """Raises ApiError, and Conflict if an object is written all the time.

    What was written meanwhile is listed once more: to read single objects the operator has no right.
    """
    released = 0
    for _ in range(_TRIES):
        conflict = None
        try:
            async for page in kubernetes.pages(kind, namespace, ""):
                for body in page["items"]:
                    key = Key(kind, body["metadata"]["namespace"], body["metadata"]["name"])
                    try:
                        released += await _release(kubernetes, key, body["metadata"])
                    except Conflict as error:
                        conflict = error
        except Gone:  # its definition is gone, and with it its objects
            return released
        if conflict is None:
            return released
    raise conflict or AssertionError("tried")


async def _release(kubernetes: Kubernetes, key: Key, metadata: Json) -> bool:
    """Returns whether it was held. Raises ApiError, and Conflict where it was written since it was listed."""
    finalizers = metadata.get("finalizers") or ()
    if FINALIZER not in finalizers:
        return False
    rest = tuple(each for each in finalizers if each != FINALIZER)
    try:
        await kubernetes.set_finalizers(key, metadata["resourceVersion"], rest)
    except Gone:
        return False
    return True


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
