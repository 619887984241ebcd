"""What a client of the HTTP API sends, and what it gets."""

import json
from dataclasses import dataclass, field
from typing import Any

import aiohttp


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    text: str
    body: Any = field(default=None)

    @property
    def code(self) -> str:
        """Of a problem, which has to look like one."""
        assert self.headers["Content-Type"] == "application/problem+json", self
        assert self.body["status"] == self.status, self
        assert self.body["type"] == f"https://protoqueue.dev/problems/{self.body['code']}", self
        assert self.body["detail"], self
        assert "Traceback" not in self.text, self
        return str(self.body["code"])


@dataclass(frozen=True)
class Api:
    """One client: `await api("POST", "/v1/queues", {...})`."""

    session: aiohttp.ClientSession
    url: str
    key: str | None

    def with_key(self, key: str | None) -> "Api":
        return Api(self.session, self.url, key)

    def at(self, url: str) -> "Api":
        return Api(self.session, url, self.key)

    async def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """`body` bytes are sent as they are, anything else as JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.key is not None:
            sent.setdefault("Authorization", f"Bearer {self.key}")
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        async with self.session.request(method, f"{self.url}{path}", data=data, headers=sent) as answer:
            text = await answer.text()
            is_json = "json" in answer.headers.get("Content-Type", "") and text
            assert answer.headers["X-Request-Id"]
            return Answer(answer.status, answer.headers, text, json.loads(text) if is_json else None)

    async def queue(self, name: str, **config: Any) -> str:
        """Make a queue that is ready."""
        answer = await self("POST", "/v1/queues?wait=60", {"name": name, "config": config})
        assert answer.status == 201, answer
        assert answer.body["ready"], answer
        return name

    async def enqueue(self, queue: str, *payloads: Any) -> list[str]:
        messages = [{"payload": payload} for payload in payloads]
        answer = await self("POST", f"/v1/queues/{queue}/messages/batch", {"messages": messages})
        assert answer.status == 201, answer
        return [message["id"] for message in answer.body["messages"]]

    async def receive(self, queue: str, most: int = 10, wait: float = 10) -> list[dict[str, Any]]:
        answer = await self("GET", f"/v1/queues/{queue}/messages?maxMessages={most}&wait={wait}")
        assert answer.status == 200, answer
        messages: list[dict[str, Any]] = answer.body["messages"]
        return messages

    async def stats(self, queue: str) -> dict[str, Any]:
        answer = await self("GET", f"/v1/queues/{queue}/stats")
        assert answer.status == 200, answer
        stats: dict[str, Any] = answer.body
        return stats
