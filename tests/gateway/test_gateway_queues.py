"""Queues over HTTP, and who may do what with them."""

import asyncio
import os
import sys
from datetime import timedelta

from gateway.api import Api
from gateway.test_gateway_messages import bounded_ready, polls
from protoqueue_devcluster.kube.client import CONSUMER_GROUPS, QUEUES
from waiting import eventually


async def test_a_queue_is_made_once_and_found_just_so(api: Api, name: str) -> None:
    config = {"maxRetries": 2, "visibilityTimeout": "1m", "rateLimit": {"requests": 10, "per": "minute"}}
    made = await api("POST", "/v1/queues", {"name": name, "config": config})
    assert (made.status, made.body["ready"]) == (201, True)
    assert made.body["config"] == {**config, "deadLetterQueue": None}
    assert made.headers["Location"] == f"/v1/namespaces/default/queues/{name}"
    same = {"name": name, "config": {**config, "visibilityTimeout": 60, "rateLimit": {"requests": 10, "per": "60s"}}}
    assert (await api("POST", "/v1/namespaces/default/queues", same)).status == 200
    other = await api("POST", "/v1/queues", {"name": name, "config": {"maxRetries": 7}})
    assert (other.status, other.code) == (409, "QueueExists")
    assert (await api("GET", f"/v1/queues/{name}")).body["config"]["maxRetries"] == 2


async def test_a_queue_with_a_dead_letter_queue_brings_that_too(api: Api, name: str) -> None:
    made = await api("POST", "/v1/queues", {"name": name, "config": {"deadLetterQueue": f"{name}-dlq"}})
    assert (made.status, made.body["config"]["deadLetterQueue"]) == (201, f"{name}-dlq")
    assert (await api("GET", f"/v1/queues/{name}-dlq")).body["groups"]
    assert made.body["ready"]
    assert made.body["spec"]["deadLetter"]["queueRef"] == {"name": f"{name}-dlq"}
    again = await api("POST", "/v1/queues", {"name": name, "config": {"deadLetterQueue": f"{name}-dlq"}})
    assert again.status == 200
    other = await api("POST", "/v1/queues", {"name": name, "config": {"deadLetterQueue": f"{name}-other"}})
    assert other.code == "QueueExists"
    refused = await api("POST", "/v1/queues", {"name": f"{name}-x", "config": {"deadLetterQueue": f"{name}-x"}})
    assert (refused.status, refused.body["errors"][0]["pointer"]) == (422, "/config/deadLetterQueue")


async def test_a_dead_letter_queue_can_be_named_and_taken_back_later(api: Api, name: str) -> None:
    await api.queue(name)
    change = {"config": {"deadLetterQueue": f"{name}-dlq"}}
    assert (await api("PATCH", f"/v1/queues/{name}", change)).body["config"]["deadLetterQueue"] == f"{name}-dlq"
    assert (await api("GET", f"/v1/queues/{name}-dlq")).body["groups"]
    change = {"config": {"deadLetterQueue": None}}
    assert (await api("PATCH", f"/v1/queues/{name}", change)).body["config"]["deadLetterQueue"] is None
    missing = {"spec": {"deadLetter": {"queueRef": {"name": f"{name}-none"}}}}
    await api("PATCH", f"/v1/queues/{name}", missing)

    async def says_why() -> bool:
        queue = (await api("GET", f"/v1/queues/{name}")).body
        return queue["reason"] == "DeadLetterQueueNotFound" and "spec.deadLetter.queueRef.name" in queue["message"]

    await eventually(says_why)


async def test_a_spec_is_taken_whole_and_what_is_wrong_in_it_is_named(api: Api, name: str) -> None:
    made = await api("POST", "/v1/queues", {"name": name, "spec": {"priorityLevels": 5, "limits": {"maxTasks": 10}}})
    assert (made.status, made.body["spec"]["priorityLevels"]) == (201, 5)
    for spec, pointer in (
        ({"priorityLevels": 50}, "/spec/priorityLevels"),
        ({"limits": {"maxTask": 1}}, "/spec/limits/maxTask"),
        ({"retry": "often"}, "/spec/retry"),
    ):
        refused = await api("POST", "/v1/queues", {"name": f"{name}-bad", "spec": spec})
        assert (refused.status, refused.code) == (422, "Invalid")
        assert pointer in [error["pointer"] for error in refused.body["errors"]]
        assert (await api("GET", f"/v1/queues/{name}-bad")).code == "QueueNotFound"


async def test_a_queue_is_changed_paused_resumed_and_purged(api: Api, name: str) -> None:
    await api.queue(name)
    changed = await api("PATCH", f"/v1/queues/{name}", {"config": {"max_retries": 9}})
    assert (changed.status, changed.body["config"]["maxRetries"]) == (200, 9)
    refused = await api("PATCH", f"/v1/queues/{name}", {"spec": {"priorityLevel": 4}})
    assert (refused.status, refused.body["errors"][0]["pointer"]) == (422, "/spec/priorityLevel")
    assert (await api("POST", f"/v1/queues/{name}/pause")).status == 204

    async def paused(wanted: bool) -> bool:
        return (await api.stats(name))["paused"] is wanted

    await eventually(lambda: paused(True))
    await api.enqueue(name, 1, 2)
    await api("POST", f"/v1/queues/{name}/messages", {"payload": 3, "delay": 600})
    assert await api.receive(name, wait=0) == []
    assert (await api("POST", f"/v1/queues/{name}/resume")).status == 204
    await eventually(lambda: paused(False))
    assert (await api("POST", f"/v1/queues/{name}/purge", {"scheduled": True})).body == {"purged": 3}
    stats = await api.stats(name)
    assert (stats["waiting"], stats["scheduled"]) == (0, 0)


async def test_the_last_hour_of_a_queue_can_be_looked_back_at(api: Api, name: str) -> None:
    await api.queue(name)
    await api.enqueue(name, 1, 2)

    async def drawn() -> list[dict]:
        answer = await api("GET", f"/v1/queues/{name}/samples?since=10m")
        assert (answer.status, answer.body["stepSeconds"], answer.body["changes"]) == (200, 10, [])
        return [sample for sample in answer.body["samples"] if sample["waiting"] == 2]

    sample, *_ = await eventually(drawn)
    assert (sample["inFlight"], sample["dead"], sample["workersDesired"]) == (0, 0, None)
    assert sample["oldestAgeSeconds"] >= 0
    since = sample["at"].replace("+00:00", "Z")
    again = (await api("GET", f"/v1/queues/{name}/samples?since={since}")).body["samples"]
    assert again[0] == sample
    day = (await api("GET", f"/v1/queues/{name}/samples?since=24h")).body
    assert day["stepSeconds"] == 300
    assert (await api("GET", f"/v1/queues/{name}/samples?since=never")).status == 422
    assert (await api("GET", f"/v1/queues/{name}-not-there/samples")).code == "QueueNotFound"


async def test_a_task_is_cancelled_by_its_id(api: Api, name: str) -> None:
    await api.queue(name)
    (task_id,) = await api.enqueue(name, 1)
    assert (await api("DELETE", f"/v1/queues/{name}/tasks/{task_id}")).status == 204
    assert (await api("DELETE", f"/v1/queues/{name}/tasks/{task_id}")).code == "TaskNotFound"
    assert (await api.stats(name))["waiting"] == 0


async def test_a_deleted_queue_goes_with_its_group(api: Api, kube, name: str) -> None:
    await api.queue(name)
    await api.enqueue(name, 1)
    assert (await api("DELETE", f"/v1/queues/{name}?deletionPolicy=Delete&wait=60")).status == 204
    for kind in (QUEUES, CONSUMER_GROUPS):
        names = [each["metadata"]["name"] for each in (await kube.list(kind, "default"))["items"]]
        assert name not in names
    assert (await api("DELETE", f"/v1/queues/{name}")).code == "QueueNotFound"
    assert (await api("POST", f"/v1/queues/{name}/messages", {"payload": 1})).code in ("QueueNotFound", "Unavailable")


async def test_queues_are_listed_in_pages_with_their_counts(api: Api, name: str) -> None:
    for number in range(3):
        await api.queue(f"{name}-{number}")
    await api.enqueue(f"{name}-1", "work")
    found: list[dict] = []
    cursor = ""
    while True:
        page = (await api("GET", f"/v1/queues?limit=2{cursor}")).body
        assert len(page["queues"]) <= 2
        found += page["queues"]
        if page["cursor"] is None:
            break
        cursor = f"&cursor={page['cursor']}"
    names = [queue["name"] for queue in found]
    assert names == sorted(set(names))
    counts = {queue["name"]: queue["counts"]["waiting"] for queue in found if queue["name"].startswith(f"{name}-")}
    assert counts == {f"{name}-0": 0, f"{name}-1": 1, f"{name}-2": 0}
    assert (await api("GET", "/v1/queues?cursor=abc")).code == "BadRequest"


async def test_a_key_does_what_it_allows_and_no_more(api: Api, keys, name: str) -> None:
    await api.queue(name)
    other = await api.queue(f"{name}-other")
    pattern = f"default/{name}"
    limited = {
        action: api.with_key(await keys.make({"queues": [pattern], "actions": [action]}))
        for action in ("enqueue", "consume", "read", "manage")
    }
    for each in limited.values():
        await bounded_ready(each)
    requests = {
        "enqueue": ("POST", "messages", {"payload": 1}),
        "consume": ("GET", "messages?wait=0", None),
        "read": ("GET", "stats", None),
        "manage": ("POST", "purge", {}),
    }
    for action, (method, path, body) in requests.items():
        for allowed, each in limited.items():
            answer = await each(method, f"/v1/queues/{name}/{path}", body)
            assert (answer.status < 300) is (action == allowed), (action, allowed, answer)
            assert answer.status < 300 or answer.code == "Forbidden"
            assert (await each(method, f"/v1/queues/{other}/{path}", body)).code == "Forbidden"
            assert (await each(method, f"/v1/queues/nothing-there/{path}", body)).code == "Forbidden"
    listed = await limited["read"]("GET", "/v1/queues")
    assert [queue["name"] for queue in listed.body["queues"]] == [name]
    mine = {"name": f"{name}-mine"}
    assert (await limited["manage"]("POST", "/v1/queues", mine)).code == "Forbidden"
    secret = {"nats": {"connectionSecretRef": {"name": "somebodys"}}}
    assert (await limited["manage"]("PATCH", f"/v1/queues/{name}", {"spec": secret})).code == "Forbidden"
    letters = {"deadLetter": {"queueRef": {"name": f"{name}-other"}}}  # which would be as good as enqueueing there
    for change in ({"spec": letters}, {"config": {"deadLetterQueue": f"{name}-other"}}):
        assert (await limited["manage"]("PATCH", f"/v1/queues/{name}", change)).code == "Forbidden"


async def test_without_a_valid_key_only_health_is_answered(api: Api, keys, gateway) -> None:
    good = await keys.make({"queues": ["*"], "actions": ["read"]})
    expired = await keys.make({"queues": ["*"], "actions": ["read"]}, expires=timedelta(seconds=-1))
    await bounded_ready(api.with_key(good))
    nobody = api.with_key(None)
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
        assert (await nobody("GET", path)).status == 200
    for key in (None, "", "pq_", expired, good[:-1], f"{good}x", "pq_unknown_" + "x" * 32, "Bearer", "é" * 10):
        answer = await api.with_key(key)("GET", "/v1/queues")
        assert (answer.status, answer.code) == (401, "Unauthorized"), key
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    basic = await nobody("GET", "/v1/queues", Authorization="Basic eDp5")
    assert basic.code == "Unauthorized"
    log = gateway.log.read_text()
    assert good.split("_", 2)[2] not in log


async def test_a_key_that_is_revoked_ends_the_polls_that_are_open_with_it(api: Api, keys, name: str) -> None:
    await api.queue(name)
    key = await keys.make({"queues": ["*"], "actions": ["consume", "read"]})
    revoked = api.with_key(key)
    await bounded_ready(revoked)
    waiting = asyncio.create_task(revoked("GET", f"/v1/queues/{name}/messages?wait=60"))
    await polls(api, 1)
    await keys.revoke(key)
    async with asyncio.timeout(40):
        assert (await waiting).code == "Unauthorized"
    assert (await revoked("GET", "/v1/queues")).code == "Unauthorized"
    await api.enqueue(name, "still there")
    (message,) = await api.receive(name)
    assert (message["payload"], message["attempt"]) == ("still there", 1)


async def test_without_authentication_it_listens_on_a_loopback_address_alone(api: Api, start_gateway, cluster) -> None:
    anybody = api.at((await start_gateway("--insecure-no-auth")).url).with_key(None)
    assert (await anybody("GET", "/v1/queues")).status == 200
    refused = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "protoqueue_gateway", "--insecure-no-auth", "--host", "0.0.0.0",
        env={"NATS_URL": cluster.nats_url, "PATH": os.environ["PATH"]},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await refused.communicate()
    assert refused.returncode == 2
    assert b"loopback" in said
