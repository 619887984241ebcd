import asyncio
import sys

import psutil

from waiting import eventually

WORKER = """
import asyncio, os
from protoqueue.surroundings import Surroundings

async def main():
    print(await Surroundings(1).in_process(os.getpid), flush=True)
    await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_processes_of_handlers_end_with_a_worker_that_is_killed(tmp_path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    worker = await asyncio.create_subprocess_exec(sys.executable, str(script), stdout=asyncio.subprocess.PIPE)
    assert worker.stdout is not None
    child = psutil.Process(int(await worker.stdout.readline()))
    worker.kill()
    await worker.wait()
    await eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)
