"""A namespace of a cluster, and what a test does in it. Knows nothing but a kubeconfig and where NATS is."""

import base64
import itertools
import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nats.aio.client import Client as Nats

import protoqueue
from protoqueue_devcluster.kube.client import (
    CONSUMER_GROUPS,
    DEPLOYMENTS,
    NAMESPACES,
    PODS,
    QUEUES,
    SECRETS,
    ApiError,
    Kind,
    KubeClient,
)
from waiting import PATIENCE_S, eventually

EVENTS = Kind("", "v1", "events", "Event")
DEFINITIONS = Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False)
IDLE = {"spec": {"containers": [{"name": "idle", "image": "none", "command": ["sleep", "1000"]}]}}
_numbers = itertools.count(1)


def unique(stem: str) -> str:
    return f"{stem}-{os.getpid()}-{next(_numbers)}"


def existing(name: str = "existing", *, replicas: int) -> dict[str, Any]:
    """A workload that somebody else has made."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, **IDLE}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


@dataclass
class Lab:
    """`queue` and `group` create or change; everything else looks."""

    kube: KubeClient
    nats: Nats
    nats_url: str
    namespace: str
    directory: Path

    async def queue(self, name: str = "email", **spec: Any) -> dict[str, Any]:
        return await self._put(QUEUES, name, spec)

    async def group(self, name: str = "mailers", queue: str = "email", **spec: Any) -> dict[str, Any]:
        return await self._put(CONSUMER_GROUPS, name, {"queueRef": {"name": queue}, **spec})

    async def secret(self, name: str, **values: str) -> None:
        """A connection Secret that holds these keys and no other."""
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        if found := await self.find(SECRETS, name):
            gone = dict.fromkeys(found["data"].keys() - data.keys())
            await self.kube.merge(SECRETS, {"data": data | gone}, name, self.namespace)
        else:
            await self.kube.create(SECRETS, {"metadata": {"name": name}, "data": data}, self.namespace)

    async def ready(
        self, *, queues: tuple[str, ...] = ("email",), groups: tuple[str, ...] = (), timeout_s: float = PATIENCE_S
    ) -> None:
        """Wait until all of these are Ready at their present generation."""
        for kind, names in ((QUEUES, queues), (CONSUMER_GROUPS, groups)):
            for name in names:
                await self.condition(kind, name, status="True", timeout_s=timeout_s)

    async def statuses(self) -> dict[str, Any]:
        """Of all queues and groups, with the version that a write would change."""
        bodies = [
            each for kind in (QUEUES, CONSUMER_GROUPS) for each in (await self.kube.list(kind, self.namespace))["items"]
        ]
        return {each["metadata"]["uid"]: (each["metadata"]["resourceVersion"], each["status"]) for each in bodies}

    async def condition(
        self, kind: Kind, name: str, type_: str = "Ready", timeout_s: float = PATIENCE_S, **expected: str
    ) -> dict[str, Any]:
        """Wait for a condition that says all of this about the present generation."""

        async def holds() -> dict[str, Any]:
            body = await self.kube.get(kind, name, self.namespace)
            found = [each for each in body.get("status", {}).get("conditions", []) if each["type"] == type_]
            assert found, f"{name} has no condition {type_}: {body.get('status')}"
            assert {key: found[0][key] for key in expected} == expected, found[0]["message"]
            assert found[0]["observedGeneration"] == body["metadata"]["generation"]
            return found[0]

        return await eventually(holds, timeout_s)

    async def get(self, kind: Kind, name: str) -> dict[str, Any]:
        return await self.kube.get(kind, name, self.namespace)

    async def find(self, kind: Kind, name: str) -> dict[str, Any] | None:
        try:
            return await self.kube.get(kind, name, self.namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def delete(self, kind: Kind, name: str) -> None:
        """Ask for it to go; `gone` waits."""
        body = await self.get(kind, name)
        await self.kube.delete(kind, name, self.namespace, body["metadata"]["uid"])

    async def gone(self, kind: Kind, name: str) -> None:
        async def is_gone() -> bool:
            return await self.find(kind, name) is None

        await eventually(is_gone)

    async def pods(self) -> list[dict[str, Any]]:
        """The pods that are running and not on their way out."""
        items: list[dict[str, Any]] = (await self.kube.list(PODS, self.namespace))["items"]
        return [
            pod
            for pod in items
            if pod.get("status", {}).get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
        ]

    async def pods_are_gone(self) -> bool:
        """Whether the last pod has ended and been removed."""
        return not (await self.kube.list(PODS, self.namespace))["items"]

    async def replicas(self, name: str = "mailers") -> int:
        body = await self.find(DEPLOYMENTS, name)
        return -1 if body is None else int(body["spec"]["replicas"])

    async def events(self, name: str) -> list[dict[str, Any]]:
        """What was said about that object."""
        items = (await self.kube.list(EVENTS, self.namespace))["items"]
        return [event for event in items if event["involvedObject"]["name"] == name]

    async def event_reasons(self, name: str) -> list[str]:
        return [event["reason"] for event in await self.events(name)]

    def stream_name(self, queue: str = "email", suffix: str = "") -> str:
        return f"PQ_{self.namespace}_{queue}{suffix}"

    async def api(self, subject: str, request: dict[str, Any] | None = None) -> dict[str, Any]:
        """A plain request to JetStream."""
        answer = await self.nats.request(f"$JS.API.{subject}", json.dumps(request or {}).encode(), timeout=20)
        body: dict[str, Any] = json.loads(answer.data)
        return body

    async def stream(self, queue: str = "email", suffix: str = "") -> dict[str, Any] | None:
        """Configuration and state; None where there is no such stream."""
        answer = await self.api(f"STREAM.INFO.{self.stream_name(queue, suffix)}")
        return None if "error" in answer else answer

    async def config(self, queue: str = "email", suffix: str = "") -> dict[str, Any]:
        info = await self.stream(queue, suffix)
        assert info is not None
        config: dict[str, Any] = info["config"]
        return config

    async def consumers(self, queue: str = "email") -> dict[str, dict[str, Any]]:
        """Those of groups; others, which are never pulled, begin with a `_`."""
        answer = await self.api(f"CONSUMER.LIST.{self.stream_name(queue)}", {"offset": 0})
        return {info["name"]: info for info in answer["consumers"] or () if not info["name"].startswith("_")}

    async def entry(self, *names: str) -> dict[str, Any] | None:
        """What `pq-config` says of a queue, or of a queue and a group."""
        bucket = await self.nats.jetstream().key_value("pq-config")
        with suppress(Exception):
            stored = await bucket.get(".".join((self.namespace, *names)))
            return json.loads(stored.value or b"null")  # type: ignore[no-any-return]
        return None

    async def client(self) -> protoqueue.Client:
        return await protoqueue.connect(self.nats_url)

    def worker_template(self, text: str, **env: str) -> dict[str, Any]:
        """A pod that runs `worker`, on which `text` defines handlers; `tell(words)` is read back with `told`."""
        (self.directory / "tasks.py").write_text(_PREAMBLE.format(told=str(self.directory / "told")) + text)
        return {
            "spec": {
                "nodeSelector": {"protoqueue.dev/process-node": "true"},
                "tolerations": [{"operator": "Exists"}],
                "terminationGracePeriodSeconds": 5,
                "containers": [
                    {
                        "name": "worker",
                        "image": "none",
                        "command": [str(Path(sys.executable).parent / "protoqueue"), "worker", "tasks:worker"],
                        "workingDir": str(self.directory),
                        "env": [{"name": name, "value": value} for name, value in env.items()],
                    }
                ],
            }
        }

    @property
    def told(self) -> list[list[str]]:
        """What workers told, a list of words per line."""
        file = self.directory / "told"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    async def delete_namespace(self) -> None:
        body = await self.kube.get(NAMESPACES, self.namespace)
        await self.kube.delete(NAMESPACES, self.namespace, None, body["metadata"]["uid"])

    async def _put(self, kind: Kind, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        if await self.find(kind, name) is None:
            return await self.kube.create(kind, {"metadata": {"name": name}, "spec": spec}, self.namespace)
        return await self.kube.merge(kind, {"spec": spec}, name, self.namespace)


_PREAMBLE = """
import asyncio, os, signal, sys, time
import protoqueue
from protoqueue import Reject, Retry, Snooze, Task

worker = protoqueue.Worker()

def tell(*words):
    file = os.open({told!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (" ".join(map(str, words)) + "\\n").encode())
    os.close(file)
"""
