"""What `protoqueue why` sees through a gateway: no workers and no pods, but what the Queue and the figures say."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

from protoqueue.admin.stats import GroupStats
from protoqueue.cli.backend import Letter
from protoqueue.cli.dead import summarize
from protoqueue.cli.gateway import GatewayClient
from protoqueue.diagnosis.facts import RECENT_S, Facts, Group, mean_rates
from protoqueue.diagnosis.resources import Condition, Resource
from protoqueue.protocol.names import QueueName


async def look(server: str, name: QueueName, letters: int, causes: int) -> Facts:
    """With up to so many dead letters, by so many causes. Raises what `protoqueue.http.errors` lists."""
    async with GatewayClient(server, None) as client:
        queue = await client.queue(str(name))
        described = await queue.described()
        stats, samples = await queue.stats(), await queue.samples(RECENT_S)
        found = await _first(queue.dead_letters(), letters)
    groups = [
        Group(
            each["name"],
            GroupStats(each["waiting"], each["inFlight"], paused=each["paused"]),
            available=each["workers"],
            is_asked=False,
        )
        for each in described["groups"]
    ]
    newest, step_s = samples.samples[-1:], samples.step.total_seconds()
    return Facts(
        str(name),
        datetime.now(UTC),
        stats,
        groups,
        Resource(
            {
                each["type"]: Condition(each["status"], each["reason"], each["message"])
                for each in described["conditions"]
            },
            paused=described["paused"],
            secret=((described["spec"].get("nats") or {}).get("connectionSecretRef") or {}).get("name", ""),
        ),
        arrivals_per_s=newest[0].arrivals / step_s if newest else 0.0,
        completions_per_s=newest[0].completions / step_s if newest else 0.0,
        recent=mean_rates(samples),
        letters=summarize(found)[:causes],
        dead_letter_queue=described["config"].get("deadLetterQueue"),
        kubernetes_problem="workers and pods not asked: a gateway does not show them",
    )


async def _first(letters: AsyncIterator[Letter], most: int) -> list[Letter]:
    found: list[Letter] = []
    async for letter in letters:
        found.append(letter)
        if len(found) >= most:
            break
    return found
