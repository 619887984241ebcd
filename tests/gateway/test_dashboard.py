"""The dashboard as far as no browser is needed to see it: sessions, rights, headers."""

import json
import re

from gateway.api import Api
from gateway.gateway_process import GatewayProcess
from gateway.visitor import SESSION, Inline, Page, Visitor, signed_in
from protoqueue_devcluster.kube.client import EVENTS
from waiting import eventually

QUEUES = "/dashboard/queues"


async def test_whoever_is_not_signed_in_is_asked_for_a_key_and_comes_back(visitor, admin_key) -> None:
    browser = visitor()
    assert (await browser.get("/")).location == QUEUES
    sent_away = await browser.get(f"{QUEUES}?sort=-dead")
    assert (sent_away.status, sent_away.location) == (
        303,
        "/dashboard/sign-in?next=%2Fdashboard%2Fqueues%3Fsort%3D-dead",
    )
    form = await browser.get(sent_away.location)
    assert (
        await browser.post("/dashboard/sign-in", {"csrf": form.token, "key": "pq_no_aaaaaaaaaaaaaaaaaaaa"})
    ).status == 401
    target = re.search(r'name="next" value="([^"]+)"', form.text)
    assert target
    form = await browser.get(sent_away.location)
    done = await browser.post("/dashboard/sign-in", {"csrf": form.token, "key": admin_key, "next": target[1]})
    assert (done.status, done.location) == (303, f"{QUEUES}?sort=-dead")
    assert (await browser.get(QUEUES)).status == 200
    assert (await browser.get("/dashboard/sign-in")).location == QUEUES


async def test_signing_in_leads_nowhere_else(visitor, admin_key) -> None:
    for target in (
        "https://example.org/",
        "//example.org",
        "/dashboard/../v1",
        "/dashboard/\\example.org",
        "/dashboard/sign-in",
        "javascript:x",
    ):
        browser = visitor()
        form = await browser.get("/dashboard/sign-in")
        done = await browser.post("/dashboard/sign-in", {"csrf": form.token, "key": admin_key, "next": target})
        assert done.status == 303
        assert done.location.startswith("/dashboard/"), target


async def test_what_a_script_asks_for_without_a_session_is_refused(visitor) -> None:
    browser = visitor()
    assert (await browser.get("/dashboard/live", Accept="text/event-stream")).status == 401
    assert (await browser.post("/dashboard/sign-out", {})).status == 401
    assert json.loads((await browser.get("/dashboard/session")).text) == {"signedIn": False}


async def test_cookies_are_out_of_reach_of_scripts_and_other_sites(visitor, admin_key) -> None:
    browser = visitor()
    await browser.sign_in(admin_key)
    cookie = next(text for text in browser.set_cookies if text.startswith(f"{SESSION}="))
    parts = {part.strip().lower() for part in cookie.split(";")}
    assert {"httponly", "samesite=strict", "path=/"} <= parts
    assert "secure" not in parts
    browser = visitor()
    await browser.sign_in(admin_key, X_Forwarded_Proto="https")
    cookie = next(text for text in browser.set_cookies if text.startswith(f"__Host-{SESSION}="))
    assert {"httponly", "samesite=strict", "path=/", "secure"} <= {part.strip().lower() for part in cookie.split(";")}
    assert not any("domain=" in text.lower() for text in browser.set_cookies)
    assert (await browser.get(QUEUES, X_Forwarded_Proto="https")).status == 200


async def test_a_session_that_was_put_into_the_browser_is_not_taken_over(visitor, admin_key) -> None:
    attacker = await signed_in(visitor(), admin_key)
    victim = visitor()
    victim.cookies[SESSION] = "chosen-by-somebody-else"
    assert (await victim.get(QUEUES)).status == 303
    await victim.sign_in(admin_key)
    first = victim.cookies[SESSION]
    assert first not in ("chosen-by-somebody-else", attacker.cookies[SESSION])
    other = await signed_in(visitor(), admin_key)
    assert other.cookies[SESSION] != first
    data, _, mac = first.partition(".")
    for forged in (f"{data}.", f"{data}.{'AB'[mac[0] == 'A']}{mac[1:]}", f"{data[:-4]}AAAA.{mac}", ".", "é", data):
        victim.cookies[SESSION] = forged
        assert (await victim.get(QUEUES)).status == 303, forged


async def test_a_form_that_is_not_from_a_page_of_the_session_is_refused(visitor, admin, admin_key) -> None:
    other = await signed_in(visitor(), admin_key)
    theirs = (await other.get(QUEUES)).token
    for fields in ({}, {"csrf": ""}, {"csrf": theirs}, {"csrf": "é"}):
        assert (await admin.post("/dashboard/sign-out", fields)).status == 403
    mine = (await admin.get(QUEUES)).token
    assert (await admin.post("/dashboard/sign-out", {"csrf": mine}, Sec_Fetch_Site="cross-site")).status == 403
    assert (await admin.get(QUEUES)).status == 200
    stranger = visitor()
    form = await visitor().get("/dashboard/sign-in")
    refused = await stranger.post("/dashboard/sign-in", {"csrf": form.token, "key": admin_key})
    assert refused.status == 403
    assert SESSION not in stranger.cookies


async def test_signing_out_ends_the_session_and_not_only_its_cookie(admin) -> None:
    before = dict(admin.cookies)
    left = await admin.act(QUEUES, "/dashboard/sign-out")
    assert (left.status, left.location) == (303, "/dashboard/sign-in")
    assert SESSION not in admin.cookies
    admin.cookies = before
    assert (await admin.get(QUEUES)).status == 303


async def test_a_session_is_known_at_another_replica_and_over_when_its_key_is(
    visitor, admin_key, keys, start_gateway
) -> None:
    key = await keys.make({"queues": ["*"], "actions": ["read"]})
    browser = await signed_in(visitor(), key)
    browser.url = (await start_gateway()).url

    async def known() -> bool:
        return (await browser.get(QUEUES)).status == 200

    await eventually(known)
    async with browser.stream("/dashboard/live") as lines:
        await keys.revoke(key)
        assert any([line == "event: signed-out" async for line in lines])

    assert (await browser.get(QUEUES)).status == 303


async def test_without_authentication_all_is_open_to_this_machine_and_to_no_page_elsewhere(
    api: Api, visitor, start_gateway, name
) -> None:
    await api.queue(name)
    anybody = visitor((await start_gateway("--insecure-no-auth")).url)
    assert (await anybody.get("/dashboard/sign-in")).location == QUEUES
    path = f"{QUEUES}/default/{name}"
    await eventually(lambda: shows(anybody, path, "<h1>"))
    assert "Sign out" not in (await anybody.get(path)).text
    assert (await anybody.post(f"{path}/pause", {"csrf": ""})).status == 403
    assert (await anybody.act(path, f"{path}/pause")).status == 303
    for host, status in (
        ("evil.example.org", 403),
        ("127.0.0.1.example.org:80", 403),
        ("localhost:1", 200),
        ("[::1]", 200),
    ):
        assert (await anybody.get(path, Host=host)).status == status, host
        assert (await anybody.get("/v1/queues", Host=host)).status == status, host


async def test_the_api_takes_no_cookie_for_a_key(admin) -> None:
    assert (await admin.get("/v1/queues")).status == 401


async def test_a_key_sees_what_it_may_read_and_nothing_else(api: Api, visitor, keys, name) -> None:
    mine, other = await api.queue(f"{name}-mine"), await api.queue(f"{name}-other")
    browser = await signed_in(visitor(), await keys.make({"queues": [f"default/{name}-mine"], "actions": ["read"]}))
    nobody = await signed_in(visitor(), await keys.make({"queues": [f"default/{name}-*"], "actions": ["enqueue"]}))

    async def listed() -> bool:
        return mine in (await browser.get(QUEUES)).text

    await eventually(listed)
    assert other not in (await browser.get(QUEUES)).text
    assert not names(await nobody.get(QUEUES))
    async with browser.stream("/dashboard/live") as lines:
        first = json.loads((await anext(each async for each in lines if each.startswith("data:")))[5:])
    assert first == {"all": [f"default/{mine}"]}


async def test_every_answer_has_a_strict_policy_and_no_page_needs_another(admin, visitor) -> None:
    pages = [await admin.get(path) for path in (QUEUES, "/dashboard/nothing", f"{QUEUES}?filter=%3Cscript%3E%22")]
    pages += [await visitor().get("/dashboard/sign-in"), await visitor().get(QUEUES)]
    for page in pages:
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Cache-Control"] == "no-store"
        assert not Inline(page.text).found
    for path in re.findall(r'/dashboard/static/[^"]+', pages[0].text):
        file = await admin.get(path)
        assert (file.status, "immutable" in file.headers["Cache-Control"]) == (200, True)
    assert (await admin.get("/dashboard/static/x/..%2Fsite.py")).status == 404


async def test_the_list_is_sorted_and_filtered_without_a_script(api: Api, admin, name) -> None:
    for number in range(3):
        await api.queue(f"{name}-{number}")
    await api.enqueue(f"{name}-1", 1, 2)

    async def sorted_by_waiting() -> bool:
        page = await admin.get(f"{QUEUES}?sort=-waiting&filter=default/{name}-")
        return names(page)[0] == f"default/{name}-1" and sorted(names(page)) == [
            f"default/{name}-{n}" for n in range(3)
        ]

    await eventually(sorted_by_waiting)
    assert names(await admin.get(f"{QUEUES}?show=busy&filter={name}-")) == [f"default/{name}-1"]


def names(page: Page) -> list[str]:
    return re.findall(r'<a href="/dashboard/queues/([^"]+)">', page.text)


async def test_no_key_or_session_is_logged(admin, gateway: GatewayProcess, admin_key) -> None:
    await admin.get(QUEUES)
    log = gateway.log.read_text()
    assert admin_key.split("_", 2)[2] not in log
    assert admin.cookies[SESSION] not in log
    assert f"signed in key={admin_key.split('_')[1]}" in log


async def test_who_may_only_read_sees_no_buttons_and_is_refused(api: Api, admin, visitor, keys, name) -> None:
    await api.queue(name)
    path = f"{QUEUES}/default/{name}"
    await eventually(lambda: shows(admin, path, "<h1>"))
    reader = await signed_in(visitor(), await keys.make({"queues": ["*"], "actions": ["read"]}))
    assert f'action="{path}/pause"' in (await admin.get(path)).text
    page = await reader.get(path)
    assert page.status == 200
    assert forms(page) == ["/dashboard/sign-out"]
    assert (await reader.get(f"{path}/purge")).status == 403
    for action, fields in (("pause", {}), ("resume", {}), ("purge", {"confirm": name})):
        refused = await reader.post(f"{path}/{action}", {"csrf": page.token, **fields})
        assert (refused.status, "does not allow to manage" in refused.text) == (403, True)
    stranger = await signed_in(visitor(), await keys.make({"queues": ["elsewhere/*"], "actions": ["admin"]}))
    for each in (path, f"{path}/live", f"{path}/purge"):
        assert (await stranger.get(each)).status == 403
    assert (await admin.get(f"{QUEUES}/default/nothing-here")).status == 404
    assert (await admin.get(f"{QUEUES}/Not_a/name")).status == 404


async def test_a_queue_is_paused_resumed_and_purged_with_a_line_in_the_log(
    api: Api, admin, admin_key, gateway: GatewayProcess, name
) -> None:
    await api.queue(name)
    await api.enqueue(name, 1, 2)
    await api("POST", f"/v1/queues/{name}/messages", {"payload": 3, "delay": 600})
    path = f"{QUEUES}/default/{name}"
    await eventually(lambda: shows(admin, path, "<h1>"))
    done = await admin.act(path, f"{path}/pause")
    assert (done.status, done.location) == (303, f"{path}?done=paused")
    assert "nothing is delivered" in (await admin.get(done.location)).text
    assert (await api("GET", f"/v1/queues/{name}")).body["paused"]
    await admin.act(path, f"{path}/resume")
    assert not (await api("GET", f"/v1/queues/{name}")).body["paused"]
    for confirmed in ("", f"{name}x", name.upper()):
        refused = await admin.act(f"{path}/purge", f"{path}/purge", confirm=confirmed, scheduled="yes")
        assert (refused.status, "Nothing was done" in refused.text) == (422, True)
    assert (await api.stats(name))["waiting"] == 2
    assert (await admin.post(f"{path}/purge", {"confirm": name})).status == 403
    purged = await admin.act(f"{path}/purge", f"{path}/purge", confirm=name, scheduled="yes")
    assert (purged.status, purged.location) == (303, f"{path}?done=purged&n=3")
    assert "3 tasks were removed" in (await admin.get(purged.location)).text
    log, key_id = gateway.log.read_text(), admin_key.split("_")[1]
    for line in ("paused", "resumed"):
        assert f"{line} queue=default/{name} key={key_id} request=" in log
    assert f"purged queue=default/{name} scheduled=True removed=3 key={key_id} request=" in log


async def test_what_others_have_written_is_shown_and_not_run(api: Api, kube, admin, name) -> None:
    """Events and conditions may hold anything."""
    await api.queue(name)
    path = f"{QUEUES}/default/{name}"
    await kube.create(EVENTS, event(name, "<script>alert(1)</script><img src=x onerror=alert(1)>"), "default")
    await eventually(lambda: shows(admin, path, "&lt;script&gt;alert(1)"))
    page = await admin.get(f"{path}?done=%3Cscript%3E&n=%3Cb%3E")
    assert not Inline(page.text).found
    assert "<img src=x" not in page.text


def event(queue: str, message: str) -> dict:
    return {
        "metadata": {"name": f"{queue}.evil", "namespace": "default"}, "type": "Warning", "reason": "Evil",
        "involvedObject": {"kind": "Queue", "name": queue, "namespace": "default"}, "message": message,
        "lastTimestamp": "2026-11-30T00:00:00Z",
    }  # fmt: skip


async def shows(visitor: Visitor, path: str, text: str) -> bool:
    page = await visitor.get(path)
    return page.status == 200 and text in page.text


def forms(page: Page) -> list[str]:
    return re.findall(r'<form[^>]* action="([^"]+)"', page.text)


async def test_what_holds_a_queue_up_stands_first_as_why_says_it_and_goes_when_it_is_over(
    api: Api, admin, name
) -> None:
    await api.queue(name)
    path = f"{QUEUES}/default/{name}"
    await api.enqueue(name, 1)
    head = re.compile(r'<div id="head">(.*?)</div>', re.DOTALL)

    async def says(*texts: str) -> bool:
        found = head.search((await admin.get(path)).text)
        return found is not None and all(text in found[1] for text in texts)

    worker = f"<code>protoqueue worker MODULE:WORKER --queue default/{name} --group {name}</code>"
    await eventually(lambda: says('<strong class="failed">NoWorkers</strong> 1 task is waiting', worker))
    await admin.act(path, f"{path}/pause")
    await eventually(
        lambda: says('<strong class="pending">Paused</strong>', f"<code>protoqueue resume default/{name}</code>")
    )
    assert not await says("NoWorkers"), "what cannot be told while it is paused"
    await admin.act(path, f"{path}/resume")
    received = await eventually(lambda: api.receive(name))
    await api("POST", f"/v1/queues/{name}/messages/{received[0]['receipt']}/reject", {"reason": "no such customer"})
    await eventually(lambda: says("DeadLetters", "1 dead letter because of Rejected", "protoqueue dead show"))
    await admin.act(f"{path}/purge", f"{path}/purge", confirm=name)
    await api("DELETE", f"/v1/queues/{name}/dead-letters/{received[0]['id']}")
    await eventually(lambda: says('<strong class="ready">Ready</strong>'))
