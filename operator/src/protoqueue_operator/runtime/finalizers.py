"""The finalizer: an object stays until its assets outside Kubernetes have been removed."""

from collections.abc import Mapping
from typing import Any

from protoqueue_operator.api.v1alpha1.labels import FINALIZER
from protoqueue_operator.api.v1alpha1.meta import Meta
from protoqueue_operator.runtime.cache import Cache
from protoqueue_operator.runtime.client import Kubernetes


class Finalizers:
    """For the objects in these caches, by kind."""

    def __init__(self, kubernetes: Kubernetes, caches: Mapping[str, Cache[Any]]) -> None:
        self._kubernetes = kubernetes
        self._caches = caches

    async def add(self, meta: Meta) -> None:
        """Add it, before anything is created. Raises ApiError, also Conflict where the object has changed since."""
        if FINALIZER not in meta.finalizers:
            await self._write(meta, (*meta.finalizers, FINALIZER))

    async def remove(self, meta: Meta) -> None:
        """Remove it, releasing the object. Raises ApiError, also Conflict where the object has changed since."""
        if FINALIZER in meta.finalizers:
            await self._write(meta, tuple(each for each in meta.finalizers if each != FINALIZER))

    async def _write(self, meta: Meta, finalizers: tuple[str, ...]) -> None:
        body = await self._kubernetes.set_finalizers(meta.key, meta.resource_version, finalizers)
        self._caches[meta.key.kind].observe_answer(meta.key, body)
