"""The kopf side: what it watches, how it logs in, what it starts and stops.

Every handler only parses and delegates. kopf watches and keeps the operator alive; its own bookkeeping (a diff base and
progress in annotations, a finalizer per handler) is not used: reconciling depends on the current state only.
"""

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Iterator
from typing import Any, cast

import kopf

from protoqueue_operator.api.v1alpha1.crd import GROUP, VERSION
from protoqueue_operator.api.v1alpha1.labels import GROUP_LABEL
from protoqueue_operator.manager import Manager

WATCH_INACTIVITY_S = 70.0
"""A watch without even a bookmark for this long is dead; real API servers send one a minute."""

PAGE = 10
"""Objects in a page of a first listing: each may be a megabyte and a half, and take ten times that once decoded."""


_BACKOFFS_S = (0.5, 1.0, 2.0, 3.0)
_LOGIN_PAUSE_S = 1.0


class EndlessBackoffs:
    """kopf gives up after these: retry for as long as the API server is away or starting."""

    def __iter__(self) -> Iterator[float]:
        return itertools.chain(_BACKOFFS_S, itertools.repeat(_BACKOFFS_S[-1]))


class NoDiffBase(kopf.DiffBaseStorage):
    """Keeps no copy of objects: differences are not used, and the copies are most of kopf's cost."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return cast("kopf.BodyEssence", {})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        """Nothing is stored."""


def log_in() -> kopf.ConnectionInfo:
    """In a pod its service account, else the kubeconfig; read again each time, as tokens expire. Raises LoginError."""
    settings = kopf.OperatorSettings()
    arguments: dict[str, Any] = {"settings": settings, "logger": logging.getLogger(__name__)}
    found = None
    if not os.environ.get("KUBECONFIG"):
        found = kopf.login_with_service_account(**arguments)
    found = found or kopf.login_with_kubeconfig(**arguments)
    if found is None:
        raise kopf.LoginError("neither a service account nor a kubeconfig: set KUBECONFIG")
    if not (found.token or found.certificate_path or found.certificate_data or found.username):
        # Credentials from a helper program, which only the official client runs.
        found = kopf.login_via_client(**arguments) or found
    return found


_last_login = 0.0


@kopf.on.login()
async def logged_in(memo: Manager, **_: Any) -> kopf.AiohttpSession:
    """At most once a second: kopf logs in again whenever the API server answers 401, as a starting one does."""
    global _last_login
    await asyncio.sleep(max(0.0, _last_login + _LOGIN_PAUSE_S - time.monotonic()))
    _last_login = time.monotonic()
    return memo.open_watches.session(log_in())


@kopf.on.startup()
async def started(settings: kopf.OperatorSettings, memo: Manager, **_: Any) -> None:
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.watching.inactivity_timeout = WATCH_INACTIVITY_S
    settings.watching.chunk_size = PAGE
    settings.networking.error_backoffs = EndlessBackoffs()
    # Namespaces and definitions are configured, so no discovery, or rights for it, is needed.
    settings.scanning.disabled = True
    settings.networking.connect_timeout = 10.0
    settings.networking.request_timeout = 60.0
    settings.watching.label_selectors["apps", "v1", "deployments"] = GROUP_LABEL
    settings.queueing.idle_timeout = 1.0
    await memo.start()


@kopf.on.cleanup()
async def stopped(memo: Manager, **_: Any) -> None:
    await memo.stop()


@kopf.on.event(GROUP, VERSION, "queues")
async def queue_seen(event: kopf.RawEvent, memo: Manager, **_: Any) -> None:
    memo.resync.observe("Queue", event["type"], event["object"])


@kopf.on.event(GROUP, VERSION, "consumergroups")
async def group_seen(event: kopf.RawEvent, memo: Manager, **_: Any) -> None:
    memo.resync.observe("ConsumerGroup", event["type"], event["object"])


@kopf.on.event(GROUP, VERSION, "redrives")
async def redrive_seen(event: kopf.RawEvent, memo: Manager, **_: Any) -> None:
    memo.resync.observe("Redrive", event["type"], event["object"])


@kopf.on.event("apps", "v1", "deployments", labels={GROUP_LABEL: kopf.PRESENT})
async def deployment_seen(event: kopf.RawEvent, memo: Manager, **_: Any) -> None:
    memo.resync.observe("Deployment", event["type"], event["object"])
