"""The dashboard in a real Chromium."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect

import nats
from gateway.api import Api
from gateway.browser import CHROMIUM, PATIENCE_MS, Tab, open_tab, running_browser
from gateway.gateway_process import GatewayProcess
from ports import free_port
from protoqueue.protocol.task_codec import encode_task
from protoqueue.protocol.task_ids import new_task_id
from protoqueue_devcluster.cluster import Cluster

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium or Chrome on PATH")
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as browser:
        yield browser


@pytest.fixture
async def tab(browser: Browser, gateway: GatewayProcess, admin_key: str) -> AsyncIterator[Tab]:
    async with open_tab(browser, gateway.url) as tab:
        await tab.sign_in(admin_key)
        yield tab


async def test_signing_in_and_out_with_the_keyboard_alone(browser, gateway, admin_key) -> None:
    async with open_tab(browser, gateway.url) as tab:
        page = tab.page
        await tab.go("/")
        await expect(page.locator("#key")).to_be_focused()
        await page.keyboard.type("pq_wrong_key")
        await page.keyboard.press("Enter")
        await expect(page.locator("[role=alert]")).to_contain_text("not known")
        await page.keyboard.type(admin_key)
        await page.keyboard.press("Enter")
        await expect(page.locator("h1")).to_have_text("Queues")
        assert await page.evaluate("document.cookie") == ""
        await page.keyboard.press("Tab")
        await expect(page.locator(".skip")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_be_focused()
        while not await page.evaluate("document.activeElement.textContent === 'Sign out'"):
            await page.keyboard.press("Shift+Tab")
        await page.keyboard.press("Enter")
        await expect(page.locator("#key")).to_be_visible()
        await page.go_back()
        await page.reload()
        await expect(page.locator("#key")).to_be_visible()


async def test_counts_and_new_queues_appear_without_a_reload(api: Api, tab: Tab, name: str) -> None:
    await api.queue(name)
    await tab.go(f"/dashboard/queues?filter={name}")
    row = tab.page.locator("tbody tr:visible")
    await expect(row.locator("td").nth(0)).to_have_text("0")
    await expect(tab.page.locator("#live")).to_have_text("live")
    await tab.page.evaluate("window.same = true")
    await api.enqueue(name, 1, 2, 3)
    await expect(row.locator("td").nth(0)).to_have_text("3")
    await expect(row.locator("td").nth(4)).to_contain_text("s")
    (received,) = await api.receive(name, 1)
    await expect(row.locator("td").nth(1)).to_have_text("1")
    await api("POST", f"/v1/queues/{name}/messages/{received['receipt']}/reject", {"reason": "no"})
    await expect(row.locator("td").nth(3)).to_have_text("1")
    await expect(tab.page.locator("#total-dead")).not_to_have_text("0")
    await api.queue(f"{name}-new")
    await expect(row).to_have_count(2)
    await api("DELETE", f"/v1/queues/{name}-new?deletionPolicy=Delete&wait=60")
    await expect(row).to_have_count(1)
    assert await tab.page.evaluate("window.same")


async def test_the_list_is_sorted_and_filtered_in_the_page(api: Api, tab: Tab, name: str) -> None:
    for number in range(3):
        await api.queue(f"{name}-{number}")
    await api.enqueue(f"{name}-1", 1)
    await tab.go("/dashboard/queues")
    await tab.page.fill("#text", f"{name}-")
    rows = tab.page.locator("tbody tr:visible th")
    await expect(rows).to_have_text([f"default/{name}-{n}" for n in range(3)])
    await expect(tab.page.locator("#shown")).to_have_text("3 shown")
    heading = tab.page.locator("th[data-column=waiting]")
    await heading.locator("a").click()
    await heading.locator("a").click()
    await expect(heading).to_have_attribute("aria-sort", "descending")
    await expect(rows.first).to_have_text(f"default/{name}-1")
    await tab.page.reload()
    await expect(rows).to_have_text([f"default/{name}-{n}" for n in (1, 0, 2)])
    await tab.page.select_option("#show", "busy")
    await expect(rows).to_have_text([f"default/{name}-1"])


async def test_a_queue_is_live_and_paused_and_purged_in_the_page(api: Api, tab: Tab, name: str) -> None:
    await api.queue(name)
    page = tab.page
    await tab.go("/dashboard/queues")
    await page.click(f"text=default/{name}")
    await expect(page.locator("h1")).to_have_text(f"default/{name}")
    counts = page.locator("#counts dd")
    await expect(counts.nth(0)).to_have_text("0")
    await expect(page.locator("#live")).to_have_text("live")
    await page.evaluate("window.same = true")
    await api.enqueue(name, 1, 2)
    await expect(counts.nth(0)).to_have_text("2")
    await api("POST", f"/v1/queues/{name}/pause")
    await expect(page.locator("#head")).to_contain_text("Paused")
    await expect(page.get_by_role("button", name="Resume")).to_be_visible()
    assert await page.evaluate("window.same")
    await page.get_by_role("button", name="Resume").click()
    await expect(page.locator(".note")).to_contain_text("delivers again")
    await page.click("text=Purge…")
    await page.fill("#confirm", "something else")
    await page.click("button.danger")
    await expect(page.locator("[role=alert]")).to_contain_text("Nothing was done")
    await page.fill("#confirm", name)
    await page.keyboard.press("Enter")
    await expect(page.locator(".note")).to_contain_text("2 tasks were removed")
    await expect(counts.nth(0)).to_have_text("0")


async def test_a_letter_is_edited_and_a_thousand_are_put_back_while_one_watches(
    api: Api, tab: Tab, cluster: Cluster, name: str
) -> None:
    await api.queue(name)
    await bury_many(cluster, name, 1000)
    page = tab.page
    await tab.go(f"/dashboard/queues/default/{name}/dead-letters")
    await page.locator("#letters tbody a").first.click()
    await page.click("text=Edit the payload and redrive")
    await page.fill("#edit", '{"n": ')
    await page.click("text=Redrive with this payload")
    await expect(page.locator("[role=alert]")).to_contain_text("not JSON")
    await page.fill("#edit", '{"n": "edited"}')
    await page.click("text=Redrive with this payload")
    await expect(page.locator(".note")).to_contain_text("1 are back")
    (received,) = await api.receive(name, 1)
    assert received["payload"] == {"n": "edited"}
    await page.check("#every")
    await page.click("text=Delete selected")
    await page.click("button.danger")
    await expect(page.locator(".note")).to_contain_text("50 were deleted")
    await page.click("text=Redrive all")
    await expect(page.locator("main")).to_contain_text("949 dead letters")
    await page.click("button.primary")
    await expect(page.locator("#progress")).to_contain_text("Finished")
    await expect(page.locator("#progress dd").nth(1)).to_have_text("949")
    await expect(page.locator("#going")).to_have_count(0)
    assert (await api.stats(name))["dead"] == 0


async def bury_many(cluster: Cluster, queue: str, count: int) -> None:
    connection = await nats.connect(cluster.nats_url)
    headers = {"Pq-Reason": "MaxAttempts", "Pq-Error": "no", "Pq-Error-Type": "ValueError", "Pq-Attempts": "3"}
    jetstream = connection.jetstream()
    await asyncio.gather(
        *(
            jetstream.publish(
                f"pqdlq.default.{queue}.{queue}",
                encode_task(new_task_id(), b'{"n": 1}', "charge", "application/json"),
                headers=headers,
            )
            for _ in range(count)
        )
    )
    await connection.close()


async def test_axe_finds_nothing_in_light_and_dark_and_a_phone_shows_it_all(
    browser, gateway, admin_key, api: Api, cluster, name
) -> None:
    async with open_tab(browser, gateway.url, viewport={"width": 360, "height": 740}) as tab:
        await tab.go("/dashboard/sign-in")
        await looks_well(tab)
        await tab.sign_in(admin_key)
        await expect(tab.page.locator("#live")).to_have_text("live")
        await api.queue(name)
        queue = f"/dashboard/queues/default/{name}"
        await expect(tab.page.locator("tbody")).to_contain_text(name)
        sent = await api("POST", f"/v1/queues/{name}/messages", {"payload": {"n": 1}, "metadata": {"tenant": 7}})
        await bury_many(cluster, name, 1)
        letters = f"{queue}/dead-letters"
        pages = ["/dashboard/queues", "/dashboard/nothing", queue, f"{queue}/purge", f"{queue}/tasks", letters]
        pages += [f"{queue}/tasks?state=finished", f"{queue}/task?id={sent.body['id']}"]
        pages += [f"{letters}/1", f"{letters}/delete-all", f"{letters}/redrive-all?reason=MaxAttempts"]
        for path in pages:
            await tab.go(path)
            await looks_well(tab, in_dark=path in ("/dashboard/queues", queue, letters))
        await tab.go("/dashboard/queues")
        beyond = "document.querySelector('#queues td:last-child').getBoundingClientRect().right - innerWidth"
        show = "document.querySelector('#queues td:last-child').textContent = 'DeadLetterQueueNotFound'"
        assert await tab.page.evaluate(f"{show}, {beyond}") <= 0, "what is wrong with a queue is cut off"


async def looks_well(tab: Tab, *, in_dark: bool = True) -> None:
    """Colours are the same on all pages: some of them are enough in the dark."""
    assert await tab.axe() == [], tab.page.url
    assert await tab.fits(), tab.page.url
    if not in_dark:
        return
    await tab.page.emulate_media(color_scheme="dark")
    assert await tab.axe("color-contrast") == [], tab.page.url
    await tab.page.emulate_media(color_scheme="light")


async def test_a_page_says_when_the_gateway_is_away_and_goes_on_when_it_is_back(
    browser, start_gateway, admin_key, api: Api, name
) -> None:
    await api.queue(name)
    gateway = await start_gateway("--port", str(free_port()))
    async with open_tab(browser, gateway.url) as tab:
        await tab.sign_in(admin_key)
        await expect(tab.page.locator("#live")).to_have_text("live")
        await gateway.stop()
        await expect(tab.page.locator("#live")).to_contain_text("connection lost")
        await gateway.start()
        await expect(tab.page.locator("#live")).to_have_text("live")
        await api.enqueue(name, 1)
        row = tab.page.locator("tbody tr", has_text=name)
        await expect(row.locator("td").nth(0)).to_have_text("1")
