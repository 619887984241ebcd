"""Take the pictures of the dashboard that README and docs show: `make pictures`.

A cluster of its own runs a small shop for some minutes, so that there is something to see. Needs Chromium on PATH.
"""

import argparse
import asyncio
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Page, async_playwright

import protoqueue
from protoqueue import NewTask

ROOT = Path(__file__).resolve().parent.parent
SHOP = Path(__file__).resolve().parent / "pictures"
TARGET = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 1280, 800


@dataclass(frozen=True)
class Picture:
    """One page: `until` is an element that has to be there first."""

    name: str
    path: str
    until: str
    dark: bool = False
    width: int = WIDTH
    height: int = HEIGHT


PICTURES = [
    Picture("queues", "/dashboard/queues", "tbody tr"),
    Picture("queue", "/dashboard/queues/shop/orders", "figure", height=1150),
    Picture("dead-letters", "/dashboard/queues/shop/orders/dead-letters", "#letters tbody a"),
    Picture("dead-letter", "/dashboard/queues/shop/orders/dead-letters/1", "#payload"),
    Picture("tasks", "/dashboard/queues/shop/orders/tasks?state=failed", "tbody tr"),
    Picture("queues-dark", "/dashboard/queues", "tbody tr", dark=True),
    Picture("queue-phone", "/dashboard/queues/shop/orders", "figure", width=380, height=800),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=6.0, help="how long the shop runs before")
    options = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("Chromium is missing (Debian: apt install chromium)")
    state = Path(tempfile.mkdtemp(prefix="protoqueue-pictures-"))
    shop = state / "shop"
    shutil.copytree(SHOP, shop)
    try:
        command = ["protoqueue", "up", "--detach", "--dir", str(state / "up"), "--workdir", str(shop)]
        subprocess.run(command, check=True)
        for line in (state / "up" / "env").read_text().splitlines():
            name, _, value = shlex.split(line)[-1].partition("=")
            os.environ[name] = value
        subprocess.run(["kubectl", "apply", "-f", str(shop / "manifests.yaml")], check=True)
        ready = ["kubectl", "wait", "queue", "--all", "-A", "--for=condition=Ready", "--timeout=60s"]
        subprocess.run(ready, check=True)
        asyncio.run(run(options.minutes, browser))
    finally:
        subprocess.run(["protoqueue", "down", "--dir", str(state / "up"), "--purge"], check=False)
        shutil.rmtree(state, ignore_errors=True)


async def run(minutes: float, browser: str) -> None:
    async with await protoqueue.connect() as client:
        selling = asyncio.create_task(sell(client))
        await asyncio.sleep(60 * minutes)
        TARGET.mkdir(exist_ok=True)
        await take(browser)
        selling.cancel()


async def sell(client: protoqueue.Client) -> None:
    """Orders in waves, a mail for each, some tasks for later."""
    orders, email = await client.queue("shop/orders"), await client.queue("shop/email")
    thumbnails, transcode = await client.queue("media/thumbnails"), await client.queue("media/transcode")
    invoices = await client.queue("shop/invoices")
    await invoices.enqueue_batch([NewTask({"invoice": place}, ordering_key="ada") for place in range(3)])
    await transcode.enqueue_batch([{"video": number} for number in range(12)])
    reminders = [({"order": 9000 + number, "kind": "reminder"}, 600 * (number + 1)) for number in range(8)]
    await orders.enqueue_batch([NewTask(payload, type="remind", delay=delay) for payload, delay in reminders])
    number = 1000
    while True:
        wave = random.choice([10, 20, 40, 150, 400])
        batch = [
            NewTask(
                {"order": number + place, "amount": round(random.uniform(5, 300), 2)}, type="charge",
                priority=random.choice([1, 5, 10]), metadata={"tenant": f"tenant-{random.randint(1, 20)}"},
            )
            for place in range(wave)
        ]  # fmt: skip
        number += wave
        await orders.enqueue_batch(batch)
        await email.enqueue_batch(
            [NewTask({"to": f"customer{place}@example.org"}, type="mail") for place in range(wave)]
        )
        await thumbnails.enqueue_batch([{"image": place} for place in range(random.randint(5, 40))])
        await asyncio.sleep(random.uniform(6, 16))


async def take(browser: str) -> None:
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        watching = await chromium.new_page()  # rates are known once somebody has watched for some seconds
        await sign_in(watching)
        await watching.wait_for_timeout(15_000)
        for picture in PICTURES:
            context = await chromium.new_context(
                viewport={"width": picture.width, "height": picture.height},
                color_scheme="dark" if picture.dark else "light",
            )
            page = await context.new_page()
            await sign_in(page)
            await page.goto(os.environ["PROTOQUEUE_GATEWAY_URL"] + picture.path)
            await page.locator(picture.until).first.wait_for()
            await page.wait_for_timeout(2500)  # until the first events of the stream have come
            await page.screenshot(path=TARGET / f"{picture.name}.png")
            await context.close()
        await chromium.close()


async def sign_in(page: Page) -> None:
    await page.goto(f"{os.environ['PROTOQUEUE_GATEWAY_URL']}/dashboard/sign-in")
    await page.fill("#key", os.environ["PROTOQUEUE_API_KEY"])
    await page.click("button.primary")
    await page.wait_for_url("**/dashboard/queues")


if __name__ == "__main__":
    main()
