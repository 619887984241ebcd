"""Run the demo's two queues wholly inside a cluster: its workers, and who enqueues, are pods of the worker image.

Usage: python hack/demo_in_cluster.py --image protoqueue/worker:e2e --nats-url nats://protoqueue-nats.protoqueue.svc:4222

Speaks to the cluster through kubectl alone. Exits with 1 when the account does not match: enqueued = tallied + dead.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

DEMO = Path(__file__).parents[1] / "examples" / "codeindex"
CODE = "/app/codeindex"
RESULTS = {"name": "CODEINDEX_DIRECTORY", "value": "/tmp"}  # noqa: S108 - in the pod, on a volume of its own
ENOUGH_S = 300

ENQUEUE = """
import asyncio, library, protoqueue

async def main():
    tasks = [
        protoqueue.NewTask({"path": str(path), "name": name}, priority=library.priority_of(name))
        for name, path in library.standard_library()
    ]
    async with protoqueue.connect() as client:
        await (await client.queue("default/modules")).enqueue_batch(tasks)
    print(len(tasks))

asyncio.run(main())
"""

COUNT = """
import os, sqlite3, time

database = os.environ["CODEINDEX_DIRECTORY"] + "/codeindex.sqlite"
while True:
    if os.path.exists(database):
        print(sqlite3.connect(database).execute("SELECT count(*) FROM findings").fetchone()[0], flush=True)
    time.sleep(1)
"""

Object = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True, help="the worker image, loaded into the cluster")
    parser.add_argument("--nats-url", required=True, help="NATS as the pod that enqueues reaches it")
    options = parser.parse_args()
    apply(code(), *in_pods(options.image))
    kubectl("wait", "--for=condition=Ready", "queue,consumergroup", "--all", "--timeout=60s")
    apply(enqueuer(options.image, options.nats_url))
    kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/enqueue", "--timeout=120s")
    enqueued = int(kubectl("logs", "enqueue"))
    return account(enqueued)


def account(enqueued: int) -> int:
    """Wait until nothing is left to do, and compare."""
    deadline, tallied, dead = time.monotonic() + ENOUGH_S, 0, 0
    while time.monotonic() < deadline:
        modules, findings = tasks("modules"), tasks("findings")
        tallied = int(kubectl("logs", "deploy/tally", "-c", "count", "--tail=1") or 0)
        dead = modules["dead"]
        print(f"modules {modules} findings {findings} tallied {tallied}", flush=True)
        if enqueued == tallied + dead:
            break
        time.sleep(2)
    matches = enqueued == tallied + dead
    print(f"{enqueued} enqueued {'=' if matches else '≠'} {tallied} tallied + {dead} dead")
    return 0 if matches else 1


def tasks(queue: str) -> Object:
    status: Object = json.loads(kubectl("get", "queue", queue, "-o", "json"))["status"]["tasks"]
    return status


def code() -> Object:
    files = {path.name: path.read_text() for path in DEMO.glob("*.py")}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "codeindex"}, "data": files}


def in_pods(image: str) -> list[Object]:
    """The demo's manifests, with an image and the code in it in the place of a directory of this machine."""
    objects = list(yaml.safe_load_all((DEMO / "manifests.yaml").read_text()))
    for each in objects:
        if each["kind"] == "ConsumerGroup":
            spec = each["spec"]["worker"]["template"]["spec"]
            spec["volumes"] = volumes()
            (container,) = spec["containers"]
            variables = [variable for variable in container["env"] if variable["name"] != RESULTS["name"]]
            container |= {**where_the_code_is(image), "env": [*variables, RESULTS]}
            if each["metadata"]["name"] == "tally":
                count = {"name": "count", "command": ["python", "-c", COUNT], "env": [RESULTS]}
                spec["containers"].append({**count, **where_the_code_is(image)})
    return objects


def enqueuer(image: str, nats_url: str) -> Object:
    container = {
        "name": "enqueue",
        "command": ["python", "-c", ENQUEUE],
        "env": [{"name": "PROTOQUEUE_NATS_URL", "value": nats_url}],
        **where_the_code_is(image),
    }
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": volumes()}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "enqueue"}, "spec": spec}


def where_the_code_is(image: str) -> Object:
    mounts = [{"name": "code", "mountPath": CODE}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    return {"image": image, "imagePullPolicy": "IfNotPresent", "workingDir": CODE, "volumeMounts": mounts}


def volumes() -> list[Object]:
    return [{"name": "code", "configMap": {"name": "codeindex"}}, {"name": "tmp", "emptyDir": {}}]


def apply(*objects: Object) -> None:
    kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """Raises CalledProcessError, after kubectl has said on stderr what is wrong."""
    program = Path(sys.executable).with_name("kubectl")
    done = subprocess.run(
        [str(program), "--namespace", "default", *arguments], input=stdin, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
