"""Two gateways, one of them killed under load: what was stored is done, and done by somebody."""

import asyncio
import contextlib
from collections import Counter

import aiohttp

from gateway.api import Api
from gateway.test_gateway_messages import bounded_ready
from waiting import eventually

MESSAGES = 600


async def test_one_of_two_gateways_is_killed_under_load_and_nothing_is_lost(
    api: Api, name: str, start_gateway
) -> None:  # fmt: skip
    doomed, other = await start_gateway(), await start_gateway()
    apis = [api.at(doomed.url), api.at(other.url)]
    for each in apis:
        await bounded_ready(each)
    await api.queue(name, visibilityTimeout=2, maxRetries=20)
    stored: set[int] = set()
    done: Counter[int] = Counter()
    numbers = iter(range(MESSAGES))

    async def anywhere(first: int, method: str, path: str, body: object = None) -> object:
        """At the gateway it is used to, else at the other, as a client behind a load balancer."""
        for turn in range(200):
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                answer = await apis[(first + turn) % 2](method, path, body)
                if answer.status < 500 and answer.status != 429:
                    return answer
            await asyncio.sleep(0.05)
        raise AssertionError(f"no gateway answered {method} {path}")

    async def produce(which: int) -> None:
        for number in numbers:
            body = {"payload": number, "dedupId": f"n{number}"}
            answer = await anywhere(which, "POST", f"/v1/queues/{name}/messages", body)
            assert answer.status == 201, answer
            stored.add(number)

    async def consume(which: int) -> None:
        while len(done) < MESSAGES:
            answer = await anywhere(which, "GET", f"/v1/queues/{name}/messages?maxMessages=5&wait=1")
            assert answer.status == 200, answer
            for message in answer.body["messages"]:
                path = f"/v1/queues/{name}/messages/{message['receipt']}/ack"
                acked = await anywhere(which, "POST", path)
                if acked.status == 204:
                    done[message["payload"]] += 1
                else:
                    assert acked.code == "LeaseLost", acked

    async def kill() -> None:
        await eventually(lambda: len(done) > MESSAGES // 4, interval_s=0.005)
        await doomed.kill()

    async with asyncio.timeout(200):
        await asyncio.gather(*(produce(n % 2) for n in range(4)), *(consume(n % 2) for n in range(4)), kill())
    assert stored == set(done) == set(range(MESSAGES))

    async def empty() -> bool:
        stats = await apis[1].stats(name)
        return (stats["waiting"], stats["inFlight"], stats["dead"]) == (0, 0, 0)

    await eventually(empty)
