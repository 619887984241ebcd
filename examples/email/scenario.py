"""A hundred sign-ups, each reported twice, one of them with a wrong address and one at a server that greylists."""

from run import Check, Stage
from smtp_sink import running_sink
from workers import Mail

import protoqueue

RATE, BURST = 20, 5
"""As manifests.yaml says."""

USERS = ["grey-ada@example.org", "nobody@example.org", *(f"user{number}@example.org" for number in range(98))]


async def play(client: protoqueue.Client, stage: Stage) -> list[Check]:
    async with running_sink() as (address, sink):
        stage.kubectl("create", "configmap", "smtp", f"--from-literal=address={address}")
        queue = await client.queue("default/email")
        receipts = [await queue.enqueue(welcome(user), dedup_id=f"welcome-{user}") for user in USERS + USERS]
        await stage.drained(queue)
        letters = [letter async for letter in queue.dead_letters()]

    arrived = sorted(when for when, _ in sink.mails)
    took, least = arrived[-1] - arrived[0], (len(USERS) - BURST) / RATE
    recipients = [str(mail["To"]) for _, mail in sink.mails]
    return [
        Check(f"{len(USERS)} sign-ups enqueued twice are {len(USERS)} tasks", duplicates(receipts) == len(USERS)),
        Check("everyone got one welcome", sorted(recipients) == sorted(set(USERS) - {"nobody@example.org"})),
        Check("the greylisted one was sent at the second attempt", "grey-ada@example.org" in recipients),
        Check("the unknown recipient is a dead letter", [letter.reason for letter in letters] == ["Rejected"]),
        Check(f"{len(arrived)} mails took {took:.1f} s: not less than {least:.1f} s", took >= least - 0.3),
    ]


def welcome(user: str) -> Mail:
    return Mail(to=user, subject="Welcome", body=f"Good to have you here, {user.partition('@')[0]}.")


def duplicates(receipts: list[protoqueue.Receipt]) -> int:
    return sum(receipt.duplicate for receipt in receipts)
