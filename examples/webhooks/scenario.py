"""Eight customers with fifteen events each, sent by three workers to endpoints that fail every fourth time."""

from receiver import running_receiver
from run import Check, Stage
from workers import Event

import protoqueue

KEY = b"change-me"
"""As manifests.yaml says."""

CUSTOMERS = [f"customer-{number}" for number in range(8)]
EVENTS = 15


async def play(client: protoqueue.Client, stage: Stage) -> list[Check]:
    queue = await client.queue("default/webhooks")
    async with running_receiver(KEY) as (url, receiver):
        for number in range(EVENTS):
            for customer in CUSTOMERS:
                event = Event(url=f"{url}/hooks", customer=customer, number=number)
                await queue.enqueue(event, ordering_key=customer)
        await queue.enqueue(Event(url=f"{url}/gone", customer="former", number=0), ordering_key="former")
        await stage.drained(queue)
        letters = [letter async for letter in queue.dead_letters()]

    sent = len(CUSTOMERS) * EVENTS
    in_order = all(receiver.received[customer] == list(range(EVENTS)) for customer in CUSTOMERS)
    return [
        Check(f"{receiver.requests} requests delivered {sent} events", receiver.requests > sent),
        Check("every customer got every event once and in order", in_order),
        Check("every request was signed", receiver.forged == 0),
        Check("the endpoint that is gone got a dead letter", [letter.reason for letter in letters] == ["Rejected"]),
    ]
