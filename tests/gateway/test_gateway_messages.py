"""Messages over HTTP: enqueued, received, settled."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from gateway.api import Api
from waiting import eventually


async def test_a_message_is_enqueued_received_and_acknowledged(api: Api, name: str) -> None:
    await api.queue(name)
    sent = {"payload": {"to": "ada", "n": [1, 2.5, None]}, "type": "welcome", "priority": 9, "metadata": {"trace": "a"}}
    stored = await api("POST", f"/v1/queues/{name}/messages", sent)
    assert (stored.status, stored.body["duplicate"]) == (201, False)
    (message,) = await api.receive(name)
    assert {key: message[key] for key in ("id", "payload", "type", "attempt", "priority", "metadata")} == {
        "id": stored.body["id"], "payload": sent["payload"], "type": "welcome", "attempt": 1, "priority": 9,
        "metadata": {"trace": "a"},
    }  # fmt: skip
    assert message["orderingKey"] is None
    assert message["deadLetter"] is None
    assert datetime.fromisoformat(message["enqueuedAt"]) < datetime.fromisoformat(message["leasedUntil"])
    assert (await api("POST", f"/v1/queues/{name}/messages/{message['receipt']}/ack")).status == 204
    stats = await api.stats(name)
    assert (stats["waiting"], stats["inFlight"]) == (0, 0)


async def test_snake_case_is_taken_and_bytes_come_back_as_they_were(api: Api, name: str) -> None:
    await api.queue(name)
    raw = bytes(range(256))
    sent = {"payload_base64": base64.b64encode(raw).decode(), "content_type": "image/png", "dedup_id": "once"}
    first = await api("POST", f"/v1/queues/{name}/messages", sent)
    again = await api("POST", f"/v1/queues/{name}/messages", sent)
    assert again.body == {"id": first.body["id"], "duplicate": True, "matched": "dedupId", "replaced": None}
    answer = await api("GET", f"/v1/queues/{name}/messages?max_messages=10&wait=5s&group=default")
    (message,) = answer.body["messages"]
    assert base64.b64decode(message["payloadBase64"]) == raw
    assert message["contentType"] == "image/png"
    assert "payload" not in message


async def test_an_idempotency_key_keeps_a_repeated_request_from_storing_twice(api: Api, name: str) -> None:
    await api.queue(name)
    bodies = [{"payload": 1}, {"messages": [{"payload": 2}, {"payload": 3}]}]
    for path, body in zip(("messages", "messages/batch"), bodies, strict=True):
        first = await api("POST", f"/v1/queues/{name}/{path}", body, Idempotency_Key="request-17")
        again = await api("POST", f"/v1/queues/{name}/{path}", body, Idempotency_Key="request-17")
        assert first.status == again.status == 201
        one, two = (answer.body.get("messages", [answer.body]) for answer in (first, again))
        assert [message["id"] for message in one] == [message["id"] for message in two]
        assert all(message["duplicate"] for message in two)
    assert (await api.stats(name))["waiting"] == 3


async def test_delayed_messages_are_scheduled_and_due_ones_come(api: Api, name: str) -> None:
    await api.queue(name)
    at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for message in (
        {"payload": "soon", "delay": "300ms"},
        {"payload": "later", "at": at},
        {"payload": "x", "delay": 60},
    ):
        assert (await api("POST", f"/v1/queues/{name}/messages", message)).status == 201
    (message,) = await api.receive(name, wait=60)
    assert message["payload"] == "soon"
    assert (await api.stats(name))["scheduled"] == 2


async def test_how_often_a_message_is_tried_it_says_itself(api: Api, name: str) -> None:
    await api.queue(name, maxRetries=5)
    sent = {"payload": 1, "retry": {"maxAttempts": 2, "initialDelay": "10ms", "multiplier": 1, "jitter": 0}}
    assert (await api("POST", f"/v1/queues/{name}/messages", sent)).status == 201
    assert (await api("POST", f"/v1/queues/{name}/messages", {"payload": 2, "retry": {"maxAttempts": 0}})).status == 422
    for attempt in (1, 2):
        (message,) = await api.receive(name, wait=60)
        assert (message["attempt"], message["maxAttempts"]) == (attempt, 2)
        assert (await api("POST", f"/v1/queues/{name}/messages/{message['receipt']}/nack")).status == 204
    (letter,) = (await api("GET", f"/v1/queues/{name}/dead-letters")).body["deadLetters"]
    assert (letter["attempts"], letter["maxAttempts"]) == (2, 2)


async def test_a_second_message_of_a_unique_key_is_not_stored(api: Api, name: str) -> None:
    await api.queue(name)
    path = f"/v1/queues/{name}/messages"
    first = await api("POST", path, {"payload": 1, "unique": "invoice-17"})
    assert first.body == {"id": first.body["id"], "duplicate": False, "matched": None, "replaced": None}
    held = {"id": first.body["id"], "duplicate": True, "matched": "unique", "replaced": None}
    again = await api("POST", path, {"payload": 2, "unique": "invoice-17", "uniqueUntil": "end"})
    assert (again.status, again.body) == (201, held)
    batch = await api("POST", f"{path}/batch", {"messages": [{"payload": 3, "unique": "invoice-17"}, {"payload": 4}]})
    assert [message["duplicate"] for message in batch.body["messages"]] == [True, False]
    assert (await api("POST", path, {"payload": 1, "unique": "k", "uniqueUntil": "never"})).status == 422
    (message, *_) = sorted(await api.receive(name), key=lambda each: each["payload"])
    assert message["id"] == first.body["id"]
    assert (await api("POST", f"{path}/{message['receipt']}/ack")).status == 204
    assert not (await api("POST", path, {"payload": 5, "unique": "invoice-17"})).body["duplicate"]


async def test_a_nack_counts_an_attempt_and_the_last_one_ends_in_the_dead_letters(api: Api, name: str) -> None:
    await api.queue(name, maxRetries=1)
    (task_id,) = await api.enqueue(name, {"n": 1})
    for attempt in (1, 2):
        (message,) = await api.receive(name, wait=60)
        assert (message["id"], message["attempt"]) == (task_id, attempt)
        path = f"/v1/queues/{name}/messages/{message['receipt']}/nack"
        assert (await api("POST", path, {"delay": 0})).status == 204
        assert (await api("POST", path, {"delay": 0})).status == 204  # the answer to the first got lost
    answer = await eventually(lambda: _letters(api, name))
    (letter,) = answer
    assert (letter["id"], letter["reason"], letter["attempts"]) == (task_id, "MaxAttempts", 2)


async def _letters(api: Api, name: str) -> list[dict[str, object]]:
    letters: list[dict[str, object]] = (await api("GET", f"/v1/queues/{name}/dead-letters")).body["deadLetters"]
    return letters


async def test_what_dies_is_received_from_the_dead_letter_queue_with_why(api: Api, name: str) -> None:
    await api.queue(name, deadLetterQueue=f"{name}-dlq")
    (task_id,) = await api.enqueue(name, {"n": 1})
    (message,) = await api.receive(name, wait=60)
    path = f"/v1/queues/{name}/messages/{message['receipt']}/reject"
    assert (await api("POST", path, {"reason": "no such address"})).status == 204
    (letter,) = await api.receive(f"{name}-dlq", wait=60)
    assert (letter["id"], letter["payload"], letter["attempt"]) == (task_id, {"n": 1}, 1)
    told = letter["deadLetter"]
    assert (told["reason"], told["error"], told["errorType"]) == ("Rejected", "no such address", "Reject")
    assert (told["attempts"], told["queue"], told["group"]) == (1, f"default/{name}", name)
    assert told["failedAt"]
    assert "previous" not in told
    assert (await api("POST", f"/v1/queues/{name}-dlq/messages/{letter['receipt']}/ack")).status == 204


async def test_a_rejected_message_is_a_dead_letter_that_can_be_put_back_or_deleted(api: Api, name: str) -> None:
    await api.queue(name)
    ids = await api.enqueue(name, "a", "b", "c")
    for message in await api.receive(name):
        path = f"/v1/queues/{name}/messages/{message['receipt']}/reject"
        assert (await api("POST", path, {"reason": "no such address"})).status == 204
    first = await api("GET", f"/v1/queues/{name}/dead-letters?limit=2")
    assert [letter["id"] for letter in first.body["deadLetters"]] == ids[:2]
    rest = await api("GET", f"/v1/queues/{name}/dead-letters?limit=2&cursor={first.body['cursor']}")
    assert [letter["id"] for letter in rest.body["deadLetters"]] == ids[2:]
    assert rest.body["cursor"] is None
    one = await api("GET", f"/v1/queues/{name}/dead-letters/{ids[1]}")
    assert (one.body["payload"], one.body["error"], one.body["reason"]) == ("b", "no such address", "Rejected")
    assert (await api("DELETE", f"/v1/queues/{name}/dead-letters/{ids[1]}")).status == 204
    assert (await api("GET", f"/v1/queues/{name}/dead-letters/{ids[1]}")).code == "DeadLetterNotFound"
    path = f"/v1/queues/{name}/dead-letters/redrive"
    started = await api("POST", path, {"filter": {"reason": "Rejected"}, "rate": 0.5}, Idempotency_Key="k")
    assert (started.status, started.body["state"]) == (202, "Pending")
    again = await api("POST", path, {"filter": {"reason": "Rejected"}, "rate": 0.5}, Idempotency_Key="k")
    assert again.body["name"] == started.body["name"]
    location = started.headers["location"]
    assert location == f"/v1/namespaces/default/queues/{name}/redrives/{started.body['name']}"

    async def moved() -> dict[str, object] | None:
        told: dict[str, object] = (await api("GET", location)).body
        return told if told["finished"] else None

    told = await eventually(moved)
    assert (told["state"], told["matched"], told["moved"], told["remaining"]) == ("Completed", 2, 2, 0)
    assert [each["name"] for each in (await api("GET", f"/v1/queues/{name}/redrives")).body["redrives"]] == [
        told["name"]
    ]
    assert sorted(message["payload"] for message in await api.receive(name)) == ["a", "c"]
    assert (await api("DELETE", location)).status == 204
    assert (await api("GET", location.replace(str(told["name"]), "other"))).code == "RedriveNotFound"
    assert (await api("POST", f"/v1/queues/{name}-none/dead-letters/redrive")).code == "QueueNotFound"
    wrong = await api("POST", path, {"filter": {"type": "a", "types": ["b"]}, "limit": 0})
    assert (wrong.status, len(wrong.body["errors"])) == (422, 2)


async def test_a_lease_that_is_over_is_lost_and_an_extended_one_is_not(api: Api, name: str) -> None:
    await api.queue(name, visibilityTimeout=4)  # in which the one that is kept is to be extended
    await api.enqueue(name, "kept", "lost")
    kept, lost = await api.receive(name, 2)
    kept_path, lost_path = (f"/v1/queues/{name}/messages/{each['receipt']}" for each in (kept, lost))
    assert (await api("POST", f"{kept_path}/extend", {"seconds": 60})).status == 204
    (again,) = await api.receive(name, 2, wait=60)
    assert again["id"] == lost["id"]
    await asyncio.sleep(5)  # time itself is what the lease is about
    assert await api.receive(name, 2, wait=0.1) != [kept]
    for what in ("ack", "nack", "reject", "extend"):
        assert (await api("POST", f"{lost_path}/{what}")).code == "LeaseLost"
    assert (await api("POST", f"{kept_path}/ack")).status == 204
    assert (await api("POST", f"{kept_path}/nack")).code == "LeaseLost"


async def test_a_batch_of_acks_says_what_became_of_each(api: Api, name: str) -> None:
    await api.queue(name)
    await api.enqueue(name, 1, 2)
    one, two = await api.receive(name, 2)
    forged = one["receipt"][:-4] + "AAAA"
    body = {"receipts": [one["receipt"], forged, two["receipt"]]}
    answer = await api("POST", f"/v1/queues/{name}/messages/ack", body)
    assert [(each["ok"], each.get("code")) for each in answer.body["results"]] == [
        (True, None), (False, "InvalidReceipt"), (True, None),
    ]  # fmt: skip
    assert (await api.stats(name))["inFlight"] == 0


async def test_receipts_of_another_queue_or_of_nobody_are_refused(api: Api, name: str) -> None:
    other = await api.queue(f"{name}-other")
    await api.queue(name)
    await api.enqueue(name, 1)
    (message,) = await api.receive(name)
    receipt = message["receipt"]
    for queue, text in ((other, receipt), (name, receipt[:-1]), (name, "x" * 40), (name, "A"), (name, "%F0%9F%98%80")):
        for what in ("ack", "nack", "reject", "extend"):
            assert (await api("POST", f"/v1/queues/{queue}/messages/{text}/{what}")).code == "InvalidReceipt"
    assert (await api("POST", f"/v1/queues/{name}/messages/{receipt}/ack")).status == 204


async def test_a_receipt_settles_at_another_replica(api: Api, name: str, start_gateway) -> None:
    other = api.at((await start_gateway()).url)
    await api.queue(name)
    await api.enqueue(name, "acked", "nacked", "rejected")
    for message in await api.receive(name, 3):
        body = {"delay": 0} if message["payload"] == "nacked" else None
        path = f"/v1/queues/{name}/messages/{message['receipt']}/{message['payload'].removesuffix('ed')}"
        assert (await eventually(lambda path=path, body=body: _known(other, path, body))).status == 204
    (again,) = await other.receive(name, wait=60)
    assert (again["payload"], again["attempt"]) == ("nacked", 2)
    (letter,) = await _letters(other, name)
    assert letter["payload"] == "rejected"


async def _known(api: Api, path: str, body: object) -> object:
    answer = await api("POST", path, body)
    return answer if answer.status != 401 else None  # a gateway that has just started reads the keys first


async def test_a_client_that_leaves_gives_back_what_it_would_have_got(api: Api, name: str) -> None:
    await api.queue(name)
    for number in range(5):
        with pytest.raises((asyncio.TimeoutError, aiohttp.ClientError)):
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.3)) as leaving:
                await Api(leaving, api.url, api.key).receive(name, wait=20)
        await api.enqueue(name, number)
        (message,) = await api.receive(name, wait=60)
        assert (message["payload"], message["attempt"]) == (number, 1)
        assert (await api("POST", f"/v1/queues/{name}/messages/{message['receipt']}/ack")).status == 204


async def test_more_long_polls_than_a_key_may_have_are_refused(api: Api, name: str, start_gateway) -> None:
    bounded = api.at((await start_gateway(MAX_LONG_POLLS_PER_KEY="2")).url)
    await bounded_ready(bounded)
    await bounded.queue(name)
    waiting = [asyncio.create_task(bounded.receive(name, wait=60)) for _ in range(2)]
    await polls(bounded, 2)
    refused = await bounded("GET", f"/v1/queues/{name}/messages?wait=1")
    assert (refused.status, refused.code) == (429, "TooManyRequests")
    assert refused.headers["Retry-After"]
    assert await bounded.receive(name, wait=0) == []
    await bounded.enqueue(name, 1, 2)
    assert sum([len(await each) for each in waiting]) == 2


async def polls(api: Api, count: int) -> None:
    """Wait until so many requests wait for messages."""

    async def as_many() -> bool:
        return f"protoqueue_gateway_long_polls {count}.0" in (await api("GET", "/metrics")).text

    await eventually(as_many)


async def bounded_ready(api: Api) -> None:
    async def knows_the_key() -> bool:
        return (await api("GET", "/v1/queues")).status == 200

    await eventually(knows_the_key)


async def test_a_stopping_gateway_ends_long_polls_at_once(api: Api, name: str, start_gateway) -> None:
    gateway = await start_gateway()
    stopping = api.at(gateway.url)
    await bounded_ready(stopping)
    await stopping.queue(name)
    waiting = asyncio.create_task(stopping.receive(name, wait=60))
    await polls(stopping, 1)
    async with asyncio.timeout(30):
        assert await gateway.stop() == 0
        assert await waiting == []


async def test_receiving_over_http_keeps_the_queue_s_rate_limit(api: Api, name: str) -> None:
    queue = await api.queue(name, rateLimit={"requests": 2, "per": "hour"})
    await api.enqueue(queue, 1, 2, 3)
    assert len(await api.receive(queue)) == 2
    assert await api.receive(queue, wait=0) == []
    assert (await api.stats(queue))["waiting"] <= 1


async def test_a_message_closes_its_group_for_a_while(api: Api, name: str) -> None:
    """When it opens again, and that no attempt is lost, the tests of the SDK's `Lease` say."""
    queue = await api.queue(name)
    await api.enqueue(queue, 1, 2)
    (message,) = await api.receive(queue, most=1)
    path = f"/v1/queues/{queue}/messages/{message['receipt']}"
    busy = {"delay": "1h", "reason": "429 from the mail API"}
    assert (await api("POST", f"{path}/throttle", busy)).status == 204
    assert (await api("POST", f"{path}/throttle", busy)).status == 204, "repeated, as after an answer that was lost"
    assert (await api("POST", f"{path}/ack")).code == "LeaseLost"
    assert await api.receive(queue, wait=1) == []
    stats = await api.stats(queue)
    assert (stats["waiting"], stats["inFlight"], stats["scheduled"]) == (1, 0, 1)
    (group,) = stats["groups"].values()
    left = datetime.fromisoformat(group["throttledUntil"]) - datetime.now(UTC)
    assert timedelta(minutes=30) < left <= timedelta(hours=1)


async def test_a_throttle_says_for_how_long(api: Api, name: str) -> None:
    queue = await api.queue(name)
    await api.enqueue(queue, 1)
    (message,) = await api.receive(queue)
    path = f"/v1/queues/{queue}/messages/{message['receipt']}"
    for body, pointer in (({}, "/delay"), ({"delay": -1}, "/delay"), ({"delay": 1, "reson": ""}, "/reson")):
        answer = await api("POST", f"{path}/throttle", body)
        assert answer.code == "Invalid"
        assert [error["pointer"] for error in answer.body["errors"]] == [pointer]
    assert (await api("POST", f"{path}/ack")).status == 204
