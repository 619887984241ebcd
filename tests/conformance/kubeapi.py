"""A Kubernetes API over plain HTTP, as the conformance tests see it: what a kubeconfig says, and nothing more."""

import base64
import json
import os
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


@dataclass(frozen=True)
class Reply:
    status: int
    body: Any
    content_type: str
    warnings: tuple[str, ...]

    @property
    def reason(self) -> str:
        return self.body["reason"]

    @property
    def message(self) -> str:
        return self.body["message"]

    @property
    def causes(self) -> list[tuple[str, str]]:
        """Field and reason of each cause of a refusal."""
        return [(cause.get("field", ""), cause.get("reason", "")) for cause in self.body["details"]["causes"]]

    @property
    def metadata(self) -> dict[str, Any]:
        return self.body["metadata"]

    @property
    def names(self) -> list[str]:
        return [item["metadata"]["name"] for item in self.body["items"]]


class Api:
    """Requests against one server; bodies go as JSON, replies come parsed."""

    def __init__(self, url: str, session: aiohttp.ClientSession, kubeconfig: Path) -> None:
        self.url = url
        self.session = session
        self.kubeconfig = kubeconfig

    async def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **headers: str
    ) -> Reply:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = None
        if body is not None:
            sent["Content-Type"] = content_type
            data = body if isinstance(body, str) else json.dumps(body)
        async with self.session.request(method, self.url + path, data=data, headers=sent) as response:
            text = await response.text()
            try:
                parsed = json.loads(text)
            except ValueError:
                parsed = text
            warnings = tuple(response.headers.getall("Warning", ()))
            return Reply(response.status, parsed, response.headers.get("Content-Type", ""), warnings)

    async def get(self, path: str, **headers: str) -> Reply:
        return await self.request("GET", path, **headers)

    async def post(self, path: str, body: Any) -> Reply:
        return await self.request("POST", path, body)

    async def put(self, path: str, body: Any) -> Reply:
        return await self.request("PUT", path, body)

    async def patch(self, path: str, body: Any, content_type: str = MERGE) -> Reply:
        return await self.request("PATCH", path, body, content_type)

    async def apply(self, path: str, body: Any, manager: str, force: bool = False) -> Reply:
        query = f"?fieldManager={manager}" + ("&force=true" if force else "")
        return await self.request("PATCH", path + query, body, APPLY)

    async def delete(self, path: str, options: Any = None) -> Reply:
        return await self.request("DELETE", path, options)

    @asynccontextmanager
    async def watch(self, path: str, query: str = "", accept: str = "application/json") -> AsyncIterator["Watch"]:
        url = f"{self.url}{path}?watch=true" + (f"&{query}" if query else "")
        async with self.session.get(url, headers={"Accept": accept}) as response:
            yield Watch(response)


class Watch:
    """The events of one watch."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.status = response.status
        self._lines = response.content

    async def next(self) -> tuple[str, dict[str, Any]]:
        """Type and object of the next event. Raises StopAsyncIteration at the end."""
        line = await self._lines.readline()
        if not line:
            raise StopAsyncIteration
        event = json.loads(line)
        return event["type"], event["object"]

    async def rest(self) -> list[tuple[str, dict[str, Any]]]:
        """All events until the server ends the watch."""
        events = []
        try:
            while True:
                events.append(await self.next())
        except StopAsyncIteration:
            return events


def _entry(config: dict[str, Any], section: str, name: str, kind: str) -> dict[str, Any]:
    return next(each[kind] for each in config[section] if each["name"] == name)


def _ssl_context(cluster: dict[str, Any], user: dict[str, Any], base: Path) -> ssl.SSLContext:
    authority = cluster.get("certificate-authority-data")
    path = cluster.get("certificate-authority")
    context = ssl.create_default_context(
        cadata=base64.b64decode(authority).decode() if authority else None, cafile=str(base / path) if path else None
    )
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if "client-certificate" in user:
        context.load_cert_chain(base / user["client-certificate"], base / user["client-key"])
    elif "client-certificate-data" in user:
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(base64.b64decode(user["client-certificate-data"]) + b"\n")
            pair.write(base64.b64decode(user["client-key-data"]))
            pair.flush()
            context.load_cert_chain(pair.name)
    return context


def read_kubeconfig(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Cluster and user of the current context; a token from a file is read."""
    config = yaml.safe_load(path.read_text())
    context = _entry(config, "contexts", config["current-context"], "context")
    user = _entry(config, "users", context["user"], "user")
    if "tokenFile" in user:
        user = {**user, "token": Path(user["tokenFile"]).read_text().strip()}
    return _entry(config, "clusters", context["cluster"], "cluster"), user


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[Api]:
    """A client of the kubeconfig's current context."""
    cluster, user = read_kubeconfig(kubeconfig)
    headers = {"User-Agent": "conformance/1.0", "Accept": "application/json"}
    if token := user.get("token"):
        headers["Authorization"] = f"Bearer {token}"
    connector = aiohttp.TCPConnector(ssl=_ssl_context(cluster, user, kubeconfig.parent))
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield Api(cluster["server"].rstrip("/"), session, kubeconfig)


def real_cluster() -> Path | None:
    """The kubeconfig of a real cluster to run against, if one was named."""
    named = os.environ.get("PROTOQUEUE_TEST_KUBECONFIG")
    return Path(named) if named else None
