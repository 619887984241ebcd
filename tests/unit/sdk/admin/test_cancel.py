"""Looking for a task to cancel."""

import pytest

from protoqueue import Unavailable
from protoqueue.testing import in_memory


async def test_a_queue_too_long_to_look_through_in_time_is_an_error_rather_than_an_answer() -> None:
    async with in_memory("default/email") as memory:
        queue = await memory.client.queue("default/email")
        await queue.enqueue_batch([0] * 1000)
        with pytest.raises(Unavailable, match="not found among the first"):
            await queue.cancel("of-another-producer", timeout=0.0001)
