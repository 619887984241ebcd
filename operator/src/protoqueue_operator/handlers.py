"""kopf's side: what it watches, how it logs in, what it starts and stops. Every handler parses, delegates, is done.

kopf watches and keeps the operator alive; its own bookkeeping (a diff base and progress in annotations, a finalizer per
handler) is not used: reconciling goes by the state of things alone, so there is nothing to remember.
"""

import logging
import os
from typing import Any, cast

import kopf

from protoqueue_operator.core.crds import GROUP, VERSION
from protoqueue_operator.core.deployment import GROUP_LABEL
from protoqueue_operator.reconcile.operation import Operation

WATCH_INACTIVITY_S = 70.0
"""A watch that brings not even a bookmark for so long is dead; real API servers send one a minute."""


class NoDiffBase(kopf.DiffBaseStorage):
    """Keeps no copy of any object: nobody asks for differences, and the copies are most of what kopf costs."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return cast("kopf.BodyEssence", {})

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        """Nothing is stored."""


def log_in() -> kopf.ConnectionInfo:
    """In a pod its service account, else the kubeconfig; read anew each time: tokens expire. Raises LoginError."""
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


@kopf.on.login()
async def logged_in(**_: Any) -> kopf.ConnectionInfo:
    return log_in()


@kopf.on.startup()
async def started(settings: kopf.OperatorSettings, memo: Operation, **_: Any) -> None:
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = NoDiffBase()
    settings.watching.inactivity_timeout = WATCH_INACTIVITY_S
    settings.watching.chunk_size = 500
    settings.networking.connect_timeout = 10.0
    settings.networking.request_timeout = 60.0
    settings.watching.label_selectors["apps", "v1", "deployments"] = GROUP_LABEL
    settings.queueing.idle_timeout = 1.0
    await memo.start()


@kopf.on.cleanup()
async def stopped(memo: Operation, **_: Any) -> None:
    await memo.stop()


@kopf.on.event(GROUP, VERSION, "queues")
async def queue_seen(event: kopf.RawEvent, memo: Operation, **_: Any) -> None:
    memo.watches.bring("Queue", event["type"], event["object"])


@kopf.on.event(GROUP, VERSION, "consumergroups")
async def group_seen(event: kopf.RawEvent, memo: Operation, **_: Any) -> None:
    memo.watches.bring("ConsumerGroup", event["type"], event["object"])


@kopf.on.event("apps", "v1", "deployments", labels={GROUP_LABEL: kopf.PRESENT})
async def deployment_seen(event: kopf.RawEvent, memo: Operation, **_: Any) -> None:
    memo.watches.bring("Deployment", event["type"], event["object"])
