"""What works on the queues in the pictures: a shop that charges cards, sends mail and draws thumbnails."""

import asyncio
import random

import protoqueue


class CardDeclined(Exception):
    """The bank has said no."""


async def charge(payload: dict[str, object]) -> dict[str, object]:
    await asyncio.sleep(random.uniform(0.05, 0.25))
    luck = random.random()
    if luck < 0.12:
        raise CardDeclined(f"the bank declined {payload['amount']} EUR: insufficient funds")
    if luck < 0.125:
        raise protoqueue.Reject(f"order {payload['order']}: fraud suspected")
    if luck < 0.13:
        raise KeyError("currency")
    return {"charged": payload["amount"]}


async def send(_payload: dict[str, object]) -> None:
    await asyncio.sleep(random.uniform(0.02, 0.1))
    if random.random() < 0.01:
        raise ConnectionError("smtp.example.org: connection reset by peer")


async def draw(_payload: dict[str, object]) -> None:
    await asyncio.sleep(random.uniform(4, 8))


def worker(queue: str, group: str, handler: object) -> protoqueue.Worker:
    made = protoqueue.Worker(queue, group=group)
    made.handler(handler)
    return made


charger = worker("shop/orders", "chargers", charge)
mailer = worker("shop/email", "mailers", send)
drawer = worker("media/thumbnails", "drawers", draw)
