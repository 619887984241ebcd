"""`executor="process"` in whole programs: what their processes import, run and leave behind."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from waiting import eventually

SCRIPT = """
import os
import protoqueue

worker = protoqueue.Worker()

def tell(line):
    with open({told!r}, "a") as file:
        file.write(line + chr(10))

class Size:
    pass

@worker.handler(executor="process")
def measure(payload: int, task: protoqueue.Task):
    tell(f"{{payload}} {{os.getpid()}}")
    if payload == 2:
        while True:
            pass

@worker.handler("again", executor="process")
def run_again(payload: int):
    worker.run()

{run}
tell("after run")
"""

RUNS = {
    "run": "worker.run()",
    "serve": "import asyncio\nasyncio.run(worker.serve())",
    "task": "import asyncio\nasync def main():\n    await asyncio.gather(worker.serve(), asyncio.Event().wait())\n"
    "asyncio.run(main())",
}


@pytest.mark.parametrize("run", RUNS)
async def test_a_script_without_a_main_guard_runs_one_worker_and_its_processes_end_with_it(
    make_queue, server, queue_name, tmp_path: Path, run: str
) -> None:
    queue = await make_queue()
    told, log = tmp_path / "told", tmp_path / "log"
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(told=str(told), run=RUNS[run]))
    environment = os.environ | {
        "PROTOQUEUE_NATS_URL": server.url,
        "PROTOQUEUE_QUEUE": f"default/{queue_name}",
        "PROTOQUEUE_GROUP": "mailers",
    }
    main = start(script, environment, log)
    started: list[psutil.Process] = []
    try:
        await queue.enqueue(1)
        again = await queue.enqueue(1, type="again")
        await eventually(lambda: told.exists() and told.read_text().splitlines())
        lines = told.read_text().splitlines()
        assert lines[0].startswith("1 ")
        assert int(lines[0].split()[1]) != main.pid

        async def refused() -> bool:
            said = [line for line in log.read_text().splitlines() if "cannot run a worker" in line]
            return any(f"task {again.id} of {queue.name} failed" in line for line in said)

        await eventually(refused)
        await queue.enqueue(2)  # has no end
        await eventually(lambda: any(line.startswith("2 ") for line in told.read_text().splitlines()))
        started = psutil.Process(main.pid).children(recursive=True)
        listening = await server.monitored("/connz?subs=1")
        subjects = [subject for one in listening["connections"] for subject in one.get("subscriptions_list", [])]
        assert subjects.count(f"pq.default.{queue_name}.workers.mailers") == 1
        assert not any("after run" in line for line in told.read_text().splitlines())
    finally:
        main.kill()
        main.wait()
    await eventually(lambda: not any(_runs(process) for process in started))


def start(script: Path, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen([sys.executable, str(script)], env=environment, stdout=output, stderr=output)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
