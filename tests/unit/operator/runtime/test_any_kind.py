"""The runtime knows no Queue: it reconciles widgets, a kind made up for this, on a real API server."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import kopf
import pytest
from aiohttp.test_utils import TestServer

from conformance.widgets import OPEN, definition
from protoqueue_devcluster.apiserver.authentication import make_credentials
from protoqueue_devcluster.apiserver.cluster import Cluster
from protoqueue_devcluster.apiserver.kinds import Kind as ServedKind
from protoqueue_devcluster.apiserver.options import WriteOptions
from protoqueue_devcluster.apiserver.server import Server
from protoqueue_operator.api.v1alpha1.conditions import Condition, Conditions
from protoqueue_operator.api.v1alpha1.fields import Model
from protoqueue_operator.api.v1alpha1.labels import FINALIZER
from protoqueue_operator.api.v1alpha1.meta import Key, Kind, Meta, parse_meta
from protoqueue_operator.api.v1alpha1.status import not_ready, ready
from protoqueue_operator.runtime.cache import Cache
from protoqueue_operator.runtime.client import ApiError, Kubernetes
from protoqueue_operator.runtime.controller import Controller
from protoqueue_operator.runtime.event_recorder import EventRecorder
from protoqueue_operator.runtime.finalizers import Finalizers
from protoqueue_operator.runtime.metrics import Metrics
from protoqueue_operator.runtime.status_writer import StatusWriter
from protoqueue_operator.runtime.workqueue import Requeue
from waiting import eventually

WIDGET = Kind("Widget", "lab.example.com/v1", "widgets")
ROUND = Key("Widget", "default", "round")


class WidgetStatus(Model):
    conditions: Conditions = ()
    weight: int | None = None

    def condition(self, kind: str) -> Condition | None:
        return next((each for each in self.conditions if each.type == kind), None)


@dataclass(frozen=True)
class Widget:
    meta: Meta
    size: int
    status: WidgetStatus


def parse_widget(body: Mapping[str, Any], _: Widget | None) -> Widget:
    return Widget(
        parse_meta(body, "Widget"), body["spec"]["size"], WidgetStatus.model_validate(body.get("status") or {})
    )


class Lab:
    """The parts of a controller of widgets, and the reconciler it is all about."""

    def __init__(self, kubernetes: Kubernetes) -> None:
        self.kubernetes, self.metrics = kubernetes, Metrics()
        self.widgets: Cache[Widget] = Cache(WIDGET, parse_widget)
        self.by_size = self.widgets.index(lambda widget: widget.size)
        caches = {WIDGET.name: self.widgets}
        self.events = EventRecorder(kubernetes, caches, lambda: datetime.now(UTC))
        self.status = StatusWriter(kubernetes, caches, self.events, lambda: datetime.now(UTC))
        self.finalizers = Finalizers(kubernetes, caches)
        self.controller = Controller(caches, {WIDGET.name: self}, self.metrics)
        self.fails: Exception | None = None
        self.forgotten: list[Key] = []

    async def reconcile(self, widget: Widget) -> Requeue | None:
        if widget.meta.deleting_since:
            await self.finalizers.remove(widget.meta)
            return None
        await self.finalizers.add(widget.meta)
        if self.fails:
            raise self.fails
        self.status.report(widget, {"weight": 2 * widget.size}, [ready(widget.meta.generation, "weighed")])
        return None

    def refuse(self, widget: Widget, reason: str, message: str) -> None:
        self.status.report(widget, {}, [not_ready(widget.meta.generation, reason, message)])

    def forget(self, key: Key) -> None:
        self.forgotten.append(key)
        self.status.forget(key)

    async def look(self) -> Widget | None:
        """Take in the widget as it is, reconcile it, and return it once all that was reported is written."""
        for _ in range(2):  # what puts on the finalizer makes another version
            body = await self.kubernetes.get(ROUND)
            self.widgets.observe(body)
            await self.controller.reconcile(ROUND)
        await eventually(lambda: not len(self.status.writes) and not len(self.events.sends))
        return self.widgets.get(ROUND)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    cluster = Cluster()
    cluster.start()

    def kind(group: str, version: str, plural: str) -> ServedKind:
        found = cluster.kinds.find(group, version, plural)
        assert found
        return found

    definitions = kind("apiextensions.k8s.io", "v1", "customresourcedefinitions")
    cluster.registry.create(definitions, "", definition("lab.example.com", OPEN), WriteOptions())
    await asyncio.sleep(0)
    body = {"metadata": {"name": "round"}, "spec": {"size": 3}}
    cluster.registry.create(kind("lab.example.com", "v1", "widgets"), "default", body, WriteOptions())
    credentials = make_credentials("127.0.0.1")
    async with TestServer(Server(cluster, credentials).application()) as server:
        url = str(server.make_url("/"))
        kubernetes = Kubernetes(lambda: kopf.ConnectionInfo(server=url, token=credentials.token), [WIDGET])
        lab = Lab(kubernetes)
        lab.status.start()
        lab.events.start()
        yield lab
        await lab.status.stop()
        await lab.events.stop()
        await kubernetes.close()


async def test_an_object_is_held_reconciled_and_told_of(lab: Lab) -> None:
    widget = await lab.look()
    assert widget
    assert widget.meta.finalizers == (FINALIZER,)
    assert widget.status.weight == 6
    assert [(each.type, each.status) for each in widget.status.conditions if each.type == "Ready"] == [
        ("Ready", "True")
    ]
    assert [each.meta.name for each in lab.by_size.get(3)] == ["round"]
    assert not lab.by_size.get(4)


async def test_what_the_api_server_refuses_is_a_condition_and_an_event_of_that_kind(lab: Lab) -> None:
    await lab.look()
    lab.fails = ApiError(403, "Forbidden", "widgets may not be weighed")
    widget = await lab.look()
    assert widget
    condition = widget.status.condition("Ready")
    assert condition
    assert (condition.status, condition.reason) == ("False", "KubernetesRefused")
    events = (await lab.kubernetes.first_page("Event", "default", ""))["items"]
    assert [(each["involvedObject"]["kind"], each["involvedObject"]["apiVersion"]) for each in events] == [
        ("Widget", "lab.example.com/v1")
    ]


async def test_a_mistake_in_a_reconciler_is_a_condition_and_tried_again(lab: Lab) -> None:
    await lab.look()
    lab.fails = KeyError("weight")
    assert await lab.controller.reconcile(ROUND) == Requeue()
    await eventually(lambda: not len(lab.status.writes))
    condition = lab.widgets[ROUND].status.condition("Ready")
    assert condition
    assert condition.reason == "InternalError"


async def test_an_object_that_is_deleted_is_let_go_and_forgotten(lab: Lab) -> None:
    widget = await lab.look()
    assert widget
    await lab.kubernetes.delete(ROUND, widget.meta.uid)
    lab.widgets.observe(await lab.kubernetes.get(ROUND))
    assert await lab.controller.reconcile(ROUND) is None
    with pytest.raises(ApiError, match="not found"):
        await lab.kubernetes.get(ROUND)
    lab.widgets.remove(ROUND, widget.meta.uid)
    assert await lab.controller.reconcile(ROUND) is None
    assert lab.forgotten == [ROUND]
    assert not len(lab.by_size)
