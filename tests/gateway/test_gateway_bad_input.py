"""Whatever is sent: an answer with the place of what is wrong, nothing stored, and a gateway that goes on."""

import asyncio
import contextlib
import json
import re
from typing import Any
from urllib.parse import urlsplit

import pytest

from gateway.api import Api
from waiting import PATIENCE_S, eventually

DEEP = b'{"payload":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

UNREADABLE = {
    "nothing": b"",
    "half an object": b'{"payload": 1',
    "text": b"hello",
    "NaN": b'{"payload": NaN}',
    "infinity": b'{"payload": [-Infinity]}',
    "invalid UTF-8": b'{"payload": "\xff\xfe"}',
    "half a surrogate": b'{"payload": "\\ud800"}',
    "too deep": DEEP,
    "two documents": b'{"payload": 1}{"payload": 2}',
}

WRONG: dict[str, tuple[Any, str]] = {
    "a list": ([], ""),
    "a number": (1, ""),
    "no payload": ({}, ""),
    "both payloads": ({"payload": 1, "payloadBase64": "AA=="}, ""),
    "no base64": ({"payloadBase64": "%%%"}, ""),
    "a priority that is text": ({"payload": 1, "priority": "5"}, "/priority"),
    "a priority of eleven": ({"payload": 1, "priority": 11}, "/priority"),
    "a priority that is true": ({"payload": 1, "priority": True}, "/priority"),
    "an unknown field": ({"payload": 1, "dedup": "x"}, "/dedup"),
    "a delay of the past": ({"payload": 1, "delay": -1}, "/delay"),
    "a delay that is no duration": ({"payload": 1, "delay": "soon"}, "/delay"),
    "a delay of ages": ({"payload": 1, "delay": 1e300}, "/delay"),
    "a time without a zone": ({"payload": 1, "at": "2030-01-01T00:00:00"}, "/at"),
    "delay and at": ({"payload": 1, "delay": 1, "at": "2030-01-01T00:00:00Z"}, ""),
    "metadata that is a list": ({"payload": 1, "metadata": []}, "/metadata"),
    "an empty dedupId": ({"payload": 1, "dedupId": ""}, "/dedupId"),
    "a contentType with a line break": ({"payloadBase64": "AA==", "contentType": "a\r\nb: c"}, "/contentType"),
}


@pytest.fixture
async def queue(api: Api, name: str) -> str:
    return await api.queue(name)


async def test_what_cannot_be_read_is_a_bad_request(api: Api, queue: str) -> None:
    for what, body in UNREADABLE.items():
        answer = await api("POST", f"/v1/queues/{queue}/messages", body)
        assert (answer.status, answer.code) == (400, "BadRequest"), what
    assert (await api.stats(queue))["waiting"] == 0


async def test_what_cannot_be_is_told_with_its_place_and_nothing_is_stored(api: Api, queue: str) -> None:
    for what, (body, pointer) in WRONG.items():
        answer = await api("POST", f"/v1/queues/{queue}/messages", body)
        assert (answer.status, answer.code) == (422, "Invalid"), (what, answer)
        assert pointer in [error["pointer"] for error in answer.body["errors"]], (what, answer)
        if isinstance(body, dict):
            batch = await api("POST", f"/v1/queues/{queue}/messages/batch", {"messages": [{"payload": 1}, body]})
            assert batch.code == "Invalid", (what, batch)
            assert f"/messages/1{pointer}" in [error["pointer"] for error in batch.body["errors"]], (what, batch)
    assert (await api.stats(queue))["waiting"] == 0


async def test_an_unknown_field_is_told_with_the_nearest_known_one(api: Api, queue: str) -> None:
    for body, near in (
        ({"payload": 1, "prioritty": 1}, "priority"),
        ({"payload": 1, "orderingkey": "a"}, "orderingKey"),
    ):
        answer = await api("POST", f"/v1/queues/{queue}/messages", body)
        assert f"did you mean {near}?" in answer.body["errors"][0]["detail"]
    config = {"name": f"{queue}-x", "config": {"maxRetrys": 1}}
    assert "maxRetries" in (await api("POST", "/v1/queues", config)).body["errors"][0]["detail"]
    query = await api("GET", f"/v1/queues/{queue}/messages?maxMessage=1")
    assert query.body["errors"][0]["parameter"] == "maxMessage"
    assert "maxMessages" in query.body["errors"][0]["detail"]


async def test_what_the_queue_refuses_of_a_batch_is_told_with_its_number(api: Api, queue: str) -> None:
    messages = [{"payload": 1}, {"payload": 2, "orderingKey": "a"}]
    answer = await api("POST", f"/v1/queues/{queue}/messages/batch", {"messages": messages})
    assert (answer.code, answer.body["errors"][0]["pointer"]) == ("Invalid", "/messages/1")
    too_many = {"messages": [{"payload": 1}] * 101}
    assert (await api("POST", f"/v1/queues/{queue}/messages/batch", too_many)).code == "Invalid"
    assert (await api.stats(queue))["waiting"] == 0


async def test_bodies_that_are_too_large_are_refused(api: Api, queue: str) -> None:
    megabyte = json.dumps({"payload": "x" * 1024 * 1024}).encode()
    assert (await api("POST", f"/v1/queues/{queue}/messages", megabyte)).code == "PayloadTooLarge"
    fits = json.dumps({"payload": "x" * 900_000}).encode()
    assert (await api("POST", f"/v1/queues/{queue}/messages", fits)).status == 201
    answer = await raw(
        api, f"POST /v1/queues/{queue}/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n"
        "Content-Type: application/json\r\nContent-Length: 104857600\r\n\r\n".encode()
    )  # fmt: skip
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert (await api.stats(queue))["waiting"] == 1


async def test_other_media_types_methods_and_paths_are_refused(api: Api, queue: str) -> None:
    text = await api("POST", f"/v1/queues/{queue}/messages", b'{"payload": 1}', Content_Type="text/plain")
    assert (text.status, text.code) == (415, "UnsupportedMediaType")
    put = await api("PUT", f"/v1/queues/{queue}/messages", {"payload": 1})
    assert (put.status, put.code, put.headers["Allow"]) == (405, "MethodNotAllowed", "GET, POST")
    assert (await api("GET", "/v2/queues")).code == "NotFound"
    assert (await api("GET", "/v1/queues/UPPER/stats")).code == "QueueNotFound"
    assert (await api("GET", "/v1/namespaces/no/queues/nothing/messages")).code == "QueueNotFound"
    assert (await api("GET", f"/v1/queues/{queue}/messages?group=nobody")).code == "GroupNotFound"
    for query in ("wait=x", "wait=61", "maxMessages=0", "maxMessages=1&maxMessages=2", "group=_"):
        assert (await api("GET", f"/v1/queues/{queue}/messages?{query}")).code == "Invalid", query


async def test_a_head_request_takes_no_message(api: Api, queue: str) -> None:
    await api.enqueue(queue, 1)
    answer = await raw(
        api, f"HEAD /v1/queues/{queue}/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n\r\n".encode()
    )  # fmt: skip
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert (await api.stats(queue))["inFlight"] == 0


async def test_floods_of_headers_and_what_is_not_http_end_the_connection(api: Api, queue: str) -> None:
    many = "".join(f"X-{number}: y\r\n" for number in range(1000))
    for sent, status in (
        (f"GET /healthz HTTP/1.1\r\nHost: x\r\n{many}\r\n", b"431"),
        (f"GET /healthz HTTP/1.1\r\nHost: x\r\nX: {'y' * 100_000}\r\n\r\n", b"431"),
        (f"GET /{'a' * 200_000} HTTP/1.1\r\nHost: x\r\n\r\n", b"431"),
        ("hello\r\n\r\n", b"400"),
        ("GET /healthz HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n", b"400"),
    ):
        answer = await raw(api, sent.encode())
        assert answer.split(b" ")[1] == status, (sent[:60], answer)
        assert b"application/problem+json" in answer
    assert (await api("GET", "/healthz")).status == 200


async def test_a_request_id_is_kept_where_it_is_one(api: Api) -> None:
    assert (await api("GET", "/healthz", X_Request_Id="mine-17")).headers["X-Request-Id"] == "mine-17"
    made = (await api("GET", "/healthz", X_Request_Id="x" * 500)).headers["X-Request-Id"]
    assert 0 < len(made) <= 64


async def test_requests_over_a_key_s_rate_are_refused(
    api: Api, queue: str, start_gateway
) -> None:  # fmt: skip
    slow = api.at((await start_gateway(REQUESTS_PER_SECOND_PER_KEY="5", CORS_ORIGINS="https://app.example.org")).url)
    async with asyncio.timeout(30):
        while (answer := await slow("GET", "/v1/queues?limit=1")).status != 429:
            assert answer.status in (200, 401)
    assert answer.code == "TooManyRequests"
    assert answer.headers["Retry-After"]
    preflight = {"Origin": "https://app.example.org", "Access_Control_Request_Method": "POST"}
    allowed = await slow("OPTIONS", f"/v1/queues/{queue}/messages", **preflight)
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://app.example.org"
    closed = await api("OPTIONS", f"/v1/queues/{queue}/messages", **preflight)
    assert "Access-Control-Allow-Origin" not in closed.headers


HEAD = "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(("part", "bound"), [("head", "HEAD_TIMEOUT"), ("body", "BODY_TIMEOUT")])
async def test_what_comes_too_slowly_ends_and_holds_up_nobody(
    api: Api, queue: str, start_gateway, part: str, bound: str
) -> None:  # fmt: skip
    impatient = api.at((await start_gateway(**{bound: "1500ms"})).url)
    await eventually(lambda: knows(impatient, queue))  # and leaves a connection that waits for no head
    head = HEAD.format(path=f"/v1/queues/{queue}/messages", key=api.key)
    sent = f"{head}X-Long: y" if part == "head" else f"{head}Content-Length: 1000\r\n\r\n{{"
    others = [asyncio.create_task(trickle(*await open_connection(impatient), sent)) for _ in range(50)]
    assert (await impatient("GET", "/healthz")).status == 200
    for answer in await asyncio.gather(*others):
        top, _, text = answer.partition(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.1 408 Request Timeout\r\n"), answer
        problem = json.loads(text)
        assert (problem["status"], problem["code"]) == (408, "RequestTimeout")
        assert f"the {part} of the request did not arrive within 1.5 s" in problem["detail"]
    assert (await api.stats(queue))["waiting"] == 0


async def test_who_still_sends_when_refused_reads_why(api: Api) -> None:
    reader, writer = await open_connection(api)
    writer.write(b"hello\r\n\r\n")
    await reader.readuntil(b"HTTP/1.1 400 ")
    for _ in range(3):
        writer.write(b"and more")
        await asyncio.sleep(0)  # a connection that is closed is reset by the first, and tells so at the next
    assert b"this is not an HTTP request" in await reader.read()
    writer.close()


async def test_a_connection_may_be_silent_between_requests_for_longer_than_a_request_may_take(
    api: Api, queue: str, start_gateway
) -> None:
    impatient = api.at((await start_gateway(HEAD_TIMEOUT="300ms", BODY_TIMEOUT="300ms")).url)
    reader, writer = await eventually(lambda: warm_connection(impatient, queue))
    head = HEAD.format(path=f"/v1/queues/{queue}/messages", key=api.key)
    for _ in range(2):
        await asyncio.sleep(0.7)
        writer.write(f'{head}Content-Length: 14\r\n\r\n{{"payload": 1}}'.encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 201 ")
        await reader.readuntil(b"}")
    writer.close()


async def test_a_request_that_is_cut_short_says_nothing_into_the_answer_to_the_one_before(
    api: Api, queue: str, start_gateway
) -> None:
    impatient = api.at((await start_gateway(HEAD_TIMEOUT="500ms")).url)
    reader, writer = await eventually(lambda: warm_connection(impatient, queue))
    poll = f"GET /v1/queues/{queue}/messages?wait=20 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n\r\n"
    with contextlib.suppress(ConnectionError):  # where the gateway closes before it reads the last bytes
        assert await trickle(reader, writer, f"{poll}GET /healthz HT") == b""


async def knows(api: Api, queue: str) -> bool:
    """Whether it knows the key and the queue."""
    return (await api("GET", f"/v1/queues/{queue}/stats")).status == 200


async def warm_connection(api: Api, queue: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    """One that has had an answer, by a gateway that knows the key and the queue: no time runs before its next request.

    None where there is none yet, or the machine has let this one wait for longer than its first request may take.
    """
    reader, writer = await open_connection(api)
    writer.write(
        f"GET /v1/queues/{queue}/stats HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200 "):
        writer.close()
        return None
    await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))
    return reader, writer


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: str) -> bytes:
    """What is answered to these bytes and others that follow singly, until the connection ends."""
    answer = asyncio.create_task(reader.read())
    writer.write(sent.encode())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not answer.done():
                await asyncio.wait([answer], timeout=0.1)
                writer.write(b" ")
        return await answer
    finally:
        writer.close()


async def open_connection(api: Api) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    where = urlsplit(api.url)
    return await asyncio.open_connection(where.hostname, where.port)


async def raw(api: Api, data: bytes) -> bytes:
    """What is answered to these bytes, until the connection ends or the answer's head and body are there."""
    reader, writer = await open_connection(api)
    try:
        writer.write(data)
        async with asyncio.timeout(60):
            head = await reader.readuntil(b"\r\n\r\n")
            try:
                async with asyncio.timeout(0.5):
                    return head + await reader.read(4096)
            except TimeoutError:
                return head
    finally:
        writer.close()
