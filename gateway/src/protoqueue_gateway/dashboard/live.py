"""Server-sent events: what keeps an open page up to date."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import StreamingResponse

from protoqueue_gateway.api.problems import Problem
from protoqueue_gateway.dashboard.rendering import HEADERS
from protoqueue_gateway.dashboard.visits import Visit

ENOUGH_S = 600.0
"""A stream ends after this time, and the browser opens another: its session is checked and signed again."""
RETRY_MS = 1000
HEARTBEAT_S = 15.0
"""How often something is sent, so that no proxy takes the connection for dead."""


def event(data: Any, *, name: str = "message", event_id: str = "") -> bytes:
    lines = [f"id: {event_id}"] if event_id else []
    lines += [f"event: {name}", f"data: {json.dumps(data, separators=(',', ':'))}"]
    return ("\n".join(lines) + "\n\n").encode()


def stream(visit: Visit, events: AsyncIterator[bytes]) -> StreamingResponse:
    """Send events until the session's key changes, the gateway stops or it has been long enough.

    Raises Problem where the key has as many streams open as it may have requests that wait for messages.
    """
    if visit.site.streams[visit.key.id] >= visit.services.settings.max_long_polls_per_key:
        raise Problem("TooManyRequests", "too many pages are open with this key")
    headers = {**HEADERS, "X-Accel-Buffering": "no"}
    return StreamingResponse(_until_end(visit, events), headers=headers, media_type="text/event-stream")


async def _until_end(visit: Visit, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    services = visit.services
    revoked = asyncio.Event() if services.keys is None else services.keys.revocation(visit.key)
    ends = [asyncio.ensure_future(each) for each in (revoked.wait(), services.messages.until_stopping())]
    ends.append(asyncio.ensure_future(asyncio.sleep(ENOUGH_S)))
    following: asyncio.Future[bytes] | None = None
    visit.site.streams[visit.key.id] += 1
    try:
        yield f"retry: {RETRY_MS}\n\n".encode()
        while True:
            following = asyncio.ensure_future(anext(events))
            await asyncio.wait([following, *ends], return_when=asyncio.FIRST_COMPLETED)
            if revoked.is_set():
                yield event({}, name="signed-out")
                return
            if any(end.done() for end in ends):
                return
            yield following.result()
    except StopAsyncIteration:
        return
    finally:
        visit.site.streams[visit.key.id] -= 1
        for end in ends:
            end.cancel()
        if following is not None:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                await following
