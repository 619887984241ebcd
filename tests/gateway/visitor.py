"""What a browser does with the dashboard, without one."""

import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import aiohttp

from waiting import eventually

_TOKEN = re.compile(r'name="csrf" value="([^"]+)"')
SESSION = "protoqueue-session"


@dataclass(frozen=True)
class Page:
    status: int
    headers: Any
    text: str

    @property
    def token(self) -> str:
        found = _TOKEN.search(self.text)
        assert found, self.text
        return found[1]

    @property
    def location(self) -> str:
        return str(self.headers["Location"])


class Visitor:
    """One browser at one gateway, with its cookies; it follows no redirects."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url
        self.cookies: dict[str, str] = {}
        self.set_cookies: list[str] = []

    async def get(self, path: str, **headers: str) -> Page:
        return await self._request("GET", path, None, headers)

    async def post(self, path: str, fields: dict[str, Any], **headers: str) -> Page:
        return await self._request("POST", path, fields, headers)

    async def act(self, page: str, path: str, **fields: Any) -> Page:
        """Send a form that is on a page."""
        return await self.post(path, {"csrf": (await self.get(page)).token, **fields})

    @contextlib.asynccontextmanager
    async def stream(self, path: str) -> AsyncIterator[AsyncIterator[str]]:
        """The lines of a stream of events."""
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Accept": "text/event-stream", "Cookie": cookie}
        async with self._session.get(f"{self.url}{path}", headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            yield (line.decode().rstrip("\n") async for line in answer.content)

    async def _request(self, method: str, path: str, fields: dict[str, Any] | None, headers: dict[str, str]) -> Page:
        sent = {"Accept": "text/html", **{name.replace("_", "-"): value for name, value in headers.items()}}
        if self.cookies:
            sent.setdefault("Cookie", "; ".join(f"{name}={value}" for name, value in self.cookies.items()))
        data = None if fields is None else aiohttp.FormData(fields)
        async with self._session.request(
            method, f"{self.url}{path}", data=data, headers=sent, allow_redirects=False
        ) as answer:
            self.set_cookies = answer.headers.getall("Set-Cookie", [])
            for text in self.set_cookies:
                name, _, value = text.partition(";")[0].partition("=")
                if value.strip('"'):
                    self.cookies[name] = value
                else:
                    self.cookies.pop(name, None)
            return Page(answer.status, answer.headers, await answer.text())

    async def sign_in(self, key: str, **headers: str) -> Page:
        form = await self.get("/dashboard/sign-in", **headers)
        return await self.post("/dashboard/sign-in", {"csrf": form.token, "key": key}, **headers)


class Inline(HTMLParser):
    """Finds what a strict policy forbids: scripts and styles in the page itself, and addresses elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if (tag == "script" and "src" not in given) or tag == "style":
            self.found.append(tag)
        for name, value in attrs:
            is_address = name in ("src", "href", "action") and value and not value.startswith(("/", "#", "?"))
            if name.startswith("on") or name == "style" or is_address:
                self.found.append(f"{tag} {name}={value}")


async def signed_in(visitor: Visitor, key: str) -> Visitor:
    """A gateway knows a new key within ten seconds."""

    async def done() -> bool:
        return (await visitor.sign_in(key)).status == 303

    await eventually(done)
    return visitor
