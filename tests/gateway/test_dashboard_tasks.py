"""Dead letters in the dashboard: found, put back, edited, deleted; and whatever is in them is shown and not run."""

import asyncio
import html
import re
from collections.abc import Callable

import pytest

import nats
import protoqueue
from gateway.api import Api
from gateway.gateway_process import GatewayProcess
from gateway.visitor import Inline, Page, Visitor, signed_in
from protoqueue.protocol.task_codec import encode_task
from protoqueue_devcluster.cluster import Cluster
from protoqueue_devcluster.kube.client import REDRIVES
from waiting import eventually

EVIL = "</pre></textarea></script><script>alert(1)</script><img src=x onerror=alert(1)>\"'"


def letters_of(queue: str) -> str:
    return f"/dashboard/queues/default/{queue}/dead-letters"


async def bury(api: Api, queue: str, *payloads: object, error: str = "no", **message: object) -> list[str]:
    """Enqueue, receive and reject; the ids."""
    ids = []
    for payload in payloads:
        answer = await api("POST", f"/v1/queues/{queue}/messages", {"payload": payload, **message})
        assert answer.status == 201, answer
        ids.append(answer.body["id"])
        (received,) = await api.receive(queue, 1)
        await api("POST", f"/v1/queues/{queue}/messages/{received['receipt']}/reject", {"reason": error})
    return ids


def sequences(page: Page) -> list[str]:
    return re.findall(r'name="sequence" value="(\d+)"', page.text)


async def test_letters_are_grouped_by_what_they_died_of_and_filtered(api: Api, admin: Visitor, name) -> None:
    await api.queue(name)
    await bury(api, name, 1, 2, type="charge", error="card declined")
    await bury(api, name, 3, type="mail", error="no such host")
    page = await admin.get(letters_of(name))
    assert page.status == 200
    assert len(sequences(page)) == 3
    assert re.search(r"<td>2</td>\s*<th[^>]*>.*Rejected</a></th>\s*<td>charge</td>\s*<td>.*card declined", page.text)
    (link,) = set(re.findall(r'href="([^"]*type=mail[^"]*)">Rejected', page.text))
    filtered = await admin.get(html.unescape(link))
    assert len(sequences(filtered)) == 1
    assert "no such host" in filtered.text
    assert sequences(await admin.get(f"{letters_of(name)}?type=")) == []


async def test_what_is_selected_is_put_back_and_deleted_after_a_question(
    api: Api, admin: Visitor, gateway: GatewayProcess, name
) -> None:
    await api.queue(name)
    ids = await bury(api, name, *range(4))
    path = letters_of(name)
    assert (await admin.act(path, f"{path}/redrive")).status == 422
    done = await admin.act(path, f"{path}/redrive", sequence="2")
    assert (done.status, done.location) == (303, f"{path}?done=redriven&n=1")
    assert "1 are back" in (await admin.get(done.location)).text
    (received,) = await api.receive(name, 1)
    assert (received["id"], received["payload"]) == (ids[1], 1)
    asked = await admin.act(path, f"{path}/delete", sequence="3")
    assert (asked.status, "for good" in asked.text) == (200, True)
    assert (await admin.get(f"{path}/3")).status == 200
    assert (await admin.act(path, f"{path}/delete", sequence="3", confirm="yes")).status == 303
    assert [(await admin.get(f"{path}/{number}")).status for number in (1, 2, 3, 4, "x")] == [200, 404, 404, 200, 404]
    gone = await admin.act(path, f"{path}/redrive", sequence="2")
    assert (gone.status, "no dead letter 2" in gone.text) == (409, True)
    assert f"redrove queue=default/{name} selected=1 moved=1 key=" in gateway.log.read_text()


async def test_a_payload_is_edited_and_put_back_under_the_same_id(api: Api, admin: Visitor, name) -> None:
    await api.queue(name)
    (task_id,) = await bury(api, name, {"to": "ada", "amount": 1.5}, type="charge", metadata={"tenant": 7})
    path = f"{letters_of(name)}/1"
    page = await admin.get(path)
    (editor,) = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page.text, re.DOTALL)
    assert html.unescape(editor) == '{\n  "to": "ada",\n  "amount": 1.5\n}'
    refused = await admin.act(path, path, payload='{"to": "bob"')
    assert (refused.status, "not JSON" in refused.text, "bob" in refused.text) == (422, True, True)
    assert (await admin.act(path, path, payload='{"to":\r\n "bob"}')).status == 303
    (received,) = await api.receive(name, 1)
    assert (received["id"], received["payload"], received["type"]) == (task_id, {"to": "bob"}, "charge")
    assert (received["metadata"], received["attempt"]) == ({"tenant": 7}, 1)
    assert (await api.stats(name))["dead"] == 0


async def test_all_that_match_are_deleted_once_the_name_is_typed(api: Api, admin: Visitor, name) -> None:
    await api.queue(name)
    await bury(api, name, 1, 2, type="charge")
    await bury(api, name, 3, type="mail")
    path = letters_of(name)
    asked = await admin.get(f"{path}/delete-all?type=charge")
    assert "2 dead letters" in asked.text
    refused = await admin.post(f"{path}/delete-all", {"csrf": asked.token, "type": "charge", "confirm": "no"})
    assert refused.status == 422
    assert (await api.stats(name))["dead"] == 3
    done = await admin.post(f"{path}/delete-all", {"csrf": asked.token, "type": "charge", "confirm": name})
    assert done.location == f"{path}?done=deleted&n=2"
    assert (await api.stats(name))["dead"] == 1


async def test_who_may_only_read_looks_at_letters_and_changes_nothing(
    api: Api, visitor: Callable[..., Visitor], keys, name
) -> None:
    await api.queue(name)
    await bury(api, name, 1)
    reader = await signed_in(visitor(), await keys.make({"queues": ["default/*"], "actions": ["read"]}))
    path = letters_of(name)
    page = await reader.get(path)
    assert (page.status, sequences(page), "<button" in page.text.split("<main")[1]) == (200, [], False)
    assert "<button" not in (await reader.get(f"{path}/1")).text.split("<main")[1]
    for action in ("redrive", "delete", "delete-all", "1"):
        refused = await reader.post(f"{path}/{action}", {"csrf": page.token, "sequence": "1", "confirm": name})
        assert refused.status == 403, action
    assert (await api.stats(name))["dead"] == 1


@pytest.mark.parametrize("body", ["task", "bytes"])
async def test_whatever_is_in_a_letter_is_shown_and_not_run(
    api: Api, admin: Visitor, cluster: Cluster, name, body
) -> None:
    await api.queue(name)
    headers = {
        "Pq-Reason": EVIL, "Pq-Error": EVIL, "Pq-Error-Type": EVIL, "Pq-Traceback": EVIL, "Pq-Worker": EVIL,
        "Pq-Attempts": "1",
    }  # fmt: skip
    data = encode_task(EVIL, EVIL.encode(), EVIL, EVIL, ordering_key=EVIL, metadata={EVIL: EVIL})
    connection = await nats.connect(cluster.nats_url)
    try:
        sent = data if body == "task" else EVIL.encode() + b"\xff"
        await connection.jetstream().publish(f"pqdlq.default.{name}.{name}", sent, headers=headers)
    finally:
        await connection.close()
    path = letters_of(name)
    for page in (
        await admin.get(path),
        await admin.get(f"{path}/1"),
        await admin.act(f"{path}/1", path + "/delete", sequence="1"),
    ):
        assert page.status == 200
        assert not Inline(page.text).found
        assert "<img src=x" not in page.text
        assert "alert(1)</script>" not in page.text


async def test_tasks_are_found_cancelled_and_run_at_once(
    api: Api, admin: Visitor, gateway: GatewayProcess, name
) -> None:
    await api.queue(name)
    first = await api("POST", f"/v1/queues/{name}/messages", {"payload": EVIL, "type": "mail", "metadata": {"k": EVIL}})
    await api.enqueue(name, {"n": 2})
    later = await api("POST", f"/v1/queues/{name}/messages", {"payload": "later", "type": "report", "delay": 600})
    path = f"/dashboard/queues/default/{name}/tasks"
    page = await admin.get(path)
    assert task_ids(page)[0] == first.body["id"]
    assert (len(task_ids(page)), len(Inline(page.text).found), "<img src=x" in page.text) == (2, 0, False)
    assert task_ids(await admin.get(f"{path}?type=MAIL&metadata=onerror")) == [first.body["id"]]
    assert task_ids(await admin.get(f"{path}?id={first.body['id'][-8:]}")) == [first.body["id"]]
    assert task_ids(await admin.get(f"{path}?metadata=nothing")) == []
    assert task_ids(await admin.get(f"{path}?state=scheduled")) == [later.body["id"]]
    assert (await admin.act(path, f"{path}/cancel", id=first.body["id"])).location == f"{path}?done=cancelled"
    assert (await admin.act(path, f"{path}/cancel", id=first.body["id"])).status == 404
    assert (await admin.act(path, f"{path}/run", id=later.body["id"])).location == f"{path}?done=hastened"
    received = await api.receive(name)
    while len(received) < 2:
        received += await api.receive(name)
    assert {each["id"] for each in received} == {later.body["id"], task_ids(page)[1]}
    assert f"cancelled queue=default/{name} task={first.body['id']} key=" in gateway.log.read_text()


def task_ids(page: Page) -> list[str]:
    assert page.status == 200, page
    return re.findall(r'<th scope="row" class="mono"><a[^>]*>([^<]+)</a></th>', page.text)


async def test_all_that_match_are_put_back_by_a_redrive_whose_progress_is_shown(
    api: Api, admin: Visitor, kube, gateway: GatewayProcess, name
) -> None:
    await api.queue(name)
    await bury(api, name, 1, 2, 3, type="charge")
    await bury(api, name, 4, type="mail")
    path = letters_of(name)
    asked = await admin.get(f"{path}/redrive-all?type=charge")
    assert "3 dead letters" in asked.text
    for wrong in ({"rate": "0"}, {"rate": "x"}, {"limit": "-1"}, {"limit": "1.5"}):
        assert (await admin.post(f"{path}/redrive-all", {"csrf": asked.token, "type": "charge", **wrong})).status == 422
    started = await admin.post(f"{path}/redrive-all", {"csrf": asked.token, "type": "charge", "limit": "2"})
    assert (started.status, "/redrives/" in started.location) == (303, True)
    resource = await kube.get(REDRIVES, started.location.rpartition("/")[2], "default")
    assert resource["spec"]["filter"] == {"types": ["charge"]}
    await eventually(lambda: shows(admin, started.location, "Finished"))
    assert "moved 2 dead letters" in (await admin.get(started.location)).text
    stats = await api.stats(name)
    assert (stats["waiting"], stats["dead"]) == (2, 2)
    log = gateway.log.read_text()
    assert f"started a redrive queue=default/{name} redrive={resource['metadata']['name']} type=charge key=" in log


async def test_a_redrive_is_suspended_resumed_and_stopped(api: Api, admin: Visitor, kube, name) -> None:
    await api.queue(name)
    await bury(api, name, *range(5))
    path = letters_of(name)
    asked = await admin.get(f"{path}/redrive-all")
    redrive = (await admin.post(f"{path}/redrive-all", {"csrf": asked.token, "rate": "1"})).location
    assert f"{redrive}/stop" in (await admin.get(redrive)).text
    await admin.act(redrive, f"{redrive}/suspend")
    await eventually(lambda: shows(admin, redrive, "Suspended"))
    assert redrive in (await admin.get(path)).text
    assert (await admin.get(redrive.replace(f"default/{name}", "default/other"))).status == 404
    await admin.act(redrive, f"{redrive}/resume")
    await eventually(lambda: shows(admin, redrive, "Under way"))
    assert (await admin.act(redrive, f"{redrive}/stop")).location == path

    async def gone() -> bool:
        return (await admin.get(redrive)).status == 404

    await eventually(gone)


async def shows(visitor: Visitor, path: str, text: str) -> bool:
    page = await visitor.get(path)
    return page.status == 200 and text in page.text


async def test_a_task_has_a_timeline_of_its_attempts_with_error_and_result(
    api: Api, admin: Visitor, cluster: Cluster, name
) -> None:
    spec = {"history": {"results": True, "payloads": True}, "retry": {"maxAttempts": 3, "initialDelay": "100ms"}}
    assert (await api("POST", "/v1/queues?wait=60", {"name": name, "spec": spec})).status == 201
    worker = protoqueue.Worker(f"default/{name}", group=name, url=cluster.nats_url)

    @worker.handler
    async def work(payload: dict, task: protoqueue.Task) -> dict:
        if task.attempt == 1 or payload["n"] == 2:
            raise ValueError(EVIL)
        return {"answer": 42, "evil": EVIL}

    ids = []
    for number in (1, 2):
        body = {"payload": {"n": number, "evil": EVIL}, "type": "sum", "metadata": {"evil": EVIL}}
        ids.append((await api("POST", f"/v1/queues/{name}/messages", body)).body["id"])
    path = f"/dashboard/queues/default/{name}"
    waiting = await admin.get(f"{path}/task?id={ids[0]}")
    assert (waiting.status, "Waiting" in waiting.text, "Cancel" in waiting.text) == (200, True, True)
    working = asyncio.create_task(worker.serve())
    try:
        await eventually(lambda: shows(admin, f"{path}/task?id={ids[0]}", ">Done</strong>"))
        await eventually(lambda: shows(admin, f"{path}/task?id={ids[1]}", ">Dead</strong>"))

        async def recorded() -> bool:
            done = (await admin.get(f"{path}/task?id={ids[0]}")).text
            dead = (await admin.get(f"{path}/task?id={ids[1]}")).text
            assert attempts(done) == ["Retried", "Done"]
            assert attempts(dead) == ["Retried", "Retried", "Dead"]
            assert "&#34;answer&#34;: 42" in done
            return "Traceback" in dead and "&#34;n&#34;: 2" in dead

        await eventually(recorded)
    finally:
        worker.stop()
        await working
    failed = await admin.get(f"{path}/tasks?state=failed&type=sum&errorType=ValueError")
    assert sorted(task_ids(failed)) == sorted([ids[0], *[ids[1]] * 3])
    assert len(task_ids(await admin.get(f"{path}/tasks?state=finished"))) == 5
    assert task_ids(await admin.get(f"{path}/tasks?state=failed&type=other")) == []
    for page in (failed, *[await admin.get(f"{path}/task?id={task_id}") for task_id in ids]):
        assert not Inline(page.text).found
        assert "<img src=x" not in page.text
    assert (await admin.get(f"{path}/task?id=nothing")).status == 404


def attempts(page: str) -> list[str]:
    return [" ".join(each.split()).split(" ")[0] for each in re.findall(r'</th>\s*<td class="\w+">([^<]+)</td>', page)]


async def test_a_queue_without_history_says_how_to_have_one(api: Api, admin: Visitor, name) -> None:
    await api.queue(name)
    page = await admin.get(f"/dashboard/queues/default/{name}/tasks?state=finished")
    assert (page.status, "spec.history" in page.text) == (200, True)
