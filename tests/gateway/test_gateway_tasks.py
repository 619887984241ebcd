"""Tasks by their ids over HTTP: where they are, and what became of them."""

import asyncio
from typing import Any

import protoqueue
from gateway.api import Api
from protoqueue_devcluster.cluster import Cluster
from waiting import PATIENCE_S, eventually


async def with_history(api: Api, name: str, **spec: Any) -> None:
    body = {"name": name, "spec": {"history": {}, "retry": {"maxAttempts": 2, "initialDelay": "50ms"}} | spec}
    answer = await api("POST", "/v1/queues?wait=60", body)
    assert answer.status == 201, answer


async def test_a_task_is_followed_by_its_id_from_its_enqueue_to_its_end(api: Api, name: str) -> None:
    await with_history(api, name)
    path = f"/v1/queues/{name}/tasks"
    sent = {"payload": 1, "type": "welcome", "priority": 7, "metadata": {"trace": "a"}}
    task_id = (await api("POST", f"/v1/queues/{name}/messages", sent)).body["id"]
    found = (await api("GET", f"{path}/{task_id}")).body
    expected = {"id": task_id, "state": "Waiting", "attempts": 0, "type": "welcome", "priority": 7}
    assert {key: found[key] for key in expected} == expected
    assert (found["metadata"], found["records"], found["result"]) == ({"trace": "a"}, [], None)

    (message,) = await api.receive(name)
    running = (await api("GET", f"{path}/{task_id}")).body
    assert (running["state"], running["attempts"]) == ("Running", 1)
    assert (await api("POST", f"/v1/queues/{name}/messages/{message['receipt']}/nack", {"delay": 0})).status == 204
    (message,) = await api.receive(name)
    assert (await api("POST", f"/v1/queues/{name}/messages/{message['receipt']}/ack")).status == 204

    async def ended() -> Any:
        status = (await api("GET", f"{path}/{task_id}")).body
        return status if len(status["records"]) == 2 else None

    done = await eventually(ended)
    assert (done["state"], done["attempts"], done["group"], done["type"]) == ("Done", 2, name, "welcome")
    assert [record["outcome"] for record in done["records"]] == ["Retried", "Done"]
    assert done["enqueuedAt"] <= done["startedAt"] <= done["finishedAt"]
    assert (await api("GET", f"{path}/0193f0a1b2c37def8123456789abcdef")).code == "TaskNotFound"


async def test_tasks_are_listed_by_state_type_and_error_page_by_page(api: Api, cluster: Cluster, name: str) -> None:
    await with_history(api, name, retry={"maxAttempts": 1}, history={"payloads": True})
    path = f"/v1/queues/{name}/tasks"
    worker = protoqueue.Worker(f"default/{name}", group=name, url=cluster.nats_url)

    @worker.handler
    async def handle(payload: int) -> dict[str, int]:
        if payload % 3 == 0:
            raise ValueError("threes")
        if payload % 5 == 0:
            raise KeyError("fives")
        return {"number": payload}

    ids = await api.enqueue(name, *range(1, 31))
    waiting = (await api("GET", f"{path}?state=Waiting&limit=5")).body
    assert [task["id"] for task in waiting["tasks"]] == ids[:5]
    await asyncio.wait_for(worker.run_once(), PATIENCE_S)
    later = {"payload": 1, "delay": 600, "type": "late"}
    late = (await api("POST", f"/v1/queues/{name}/messages", later)).body["id"]

    async def listed(query: str = "") -> list[int]:
        numbers: list[int] = []
        cursor = ""
        while True:
            page = (await api("GET", f"{path}?limit=7{query}{cursor}")).body
            numbers += [1 + ids.index(task["id"]) for task in page["tasks"]]
            if page["cursor"] is None:
                return numbers
            cursor = f"&cursor={page['cursor']}"

    assert sorted(await listed()) == list(range(1, 31))
    dead = [n for n in range(1, 31) if n % 3 == 0 or n % 5 == 0]
    assert sorted(await listed("&state=Dead")) == dead
    assert sorted(await listed("&state=Done")) == [n for n in range(1, 31) if n not in dead]
    assert sorted(await listed("&errorType=KeyError")) == [n for n in dead if n % 3]
    assert await listed("&state=Done&type=other") == []
    assert await listed("&since=2100-01-01T00:00:00Z") == []
    assert sorted(await listed("&since=1h&state=Dead")) == dead
    (scheduled,) = (await api("GET", f"{path}?state=Scheduled&type=late")).body["tasks"]
    assert (scheduled["id"], scheduled["state"]) == (late, "Scheduled")
    assert scheduled["dueAt"] > scheduled["enqueuedAt"]
    assert (await api("DELETE", f"{path}/{late}")).status == 204

    async def is_cancelled() -> bool:
        found = (await api("GET", f"{path}?state=Cancelled")).body["tasks"]
        return [task["id"] for task in found] == [late]

    await eventually(is_cancelled)

    done = (await api("GET", f"{path}/{ids[0]}")).body
    assert (done["result"]["json"], done["payload"]["json"]) == ({"number": 1}, 1)
    failed = (await api("GET", f"{path}/{ids[2]}")).body
    assert (failed["state"], failed["reason"], failed["error"]) == ("Dead", "MaxAttempts", "threes")
    assert "raise ValueError" in failed["traceback"]
    for query in ("state=Lost", "limit=0", "since=soon", "cursor=x"):
        assert (await api("GET", f"{path}?{query}")).status in (400, 422)


async def test_without_history_dead_letters_are_listed_and_the_rest_says_what_is_missing(api: Api, name: str) -> None:
    await api.queue(name, max_retries=0)
    (task_id,) = await api.enqueue(name, 1)
    (message,) = await api.receive(name)
    path = f"/v1/queues/{name}/tasks"
    assert (
        await api("POST", f"/v1/queues/{name}/messages/{message['receipt']}/reject", {"reason": "no"})
    ).status == 204
    (dead,) = (await api("GET", f"{path}?state=Dead")).body["tasks"]
    assert (dead["id"], dead["reason"], dead["error"]) == (task_id, "Rejected", "no")
    assert (await api("GET", f"{path}/{task_id}")).body["state"] == "Dead"
    for query in ("", "?state=Done", "?state=Expired"):
        answer = await api("GET", f"{path}{query}")
        assert (answer.status, answer.code) == (409, "HistoryDisabled")
        assert "spec.history" in answer.body["detail"]


async def test_who_may_read_sees_tasks_and_may_not_cancel_them(api: Api, keys, name: str) -> None:
    await api.queue(name)
    (task_id,) = await api.enqueue(name, 1)
    reader = api.with_key(await keys.make({"queues": [f"default/{name}"], "actions": ["read"]}))
    other = api.with_key(await keys.make({"queues": ["default/other"], "actions": ["admin"]}))
    path = f"/v1/queues/{name}/tasks"

    async def may_read() -> bool:
        return (await reader("GET", f"{path}/{task_id}")).status == 200

    await eventually(may_read)
    assert (await reader("DELETE", f"{path}/{task_id}")).code == "Forbidden"
    for asked in (path, f"{path}/{task_id}"):
        assert (await other("GET", asked)).code in ("Forbidden", "Unauthorized")
