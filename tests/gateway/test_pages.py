"""What the pages show with curl and in Python works as written, against a real gateway."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import protoqueue
from docs.fences import ROOT, fences
from examples.loading import example_module
from gateway.api import Api
from gateway.gateway_process import GatewayProcess
from protoqueue import http
from protoqueue_devcluster.cluster import Cluster

SHELL, ANCESTORS = ROOT / "docs/sdk/shell.md", ROOT / "docs/migrate/ancestors.md"


async def in_bash(page: Path, api: Api, directory: Path) -> str:
    """What the bash blocks of a page print, as one script that ends at the first failure."""
    script = "\n".join(["set -euo pipefail", *(fence.text for fence in fences(page, "bash"))])
    variables = {"PROTOQUEUE_GATEWAY_URL": api.url, "PROTOQUEUE_API_KEY": str(api.key)}
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", script, cwd=directory, env=os.environ | variables, stdout=-1, stderr=-1
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode() + output.decode()
    return output.decode()


async def test_the_page_for_the_shell_works_as_one_script(api: Api, tmp_path: Path) -> None:
    output = await in_bash(SHELL, api, tmp_path)
    assert output.startswith("mailing\n")
    assert re.search("}150$", output, re.MULTILINE), "not all of the file's lines are stored"
    assert set(re.findall(r"^\[(.*)\]$", output, re.MULTILINE)) == {"true"}, "not all are acknowledged"
    assert re.search(r"\tMaxAttempts\t1\t", output), "the dead letter is not listed"
    assert '"moved": 1' in output
    assert "did you mean priority?" in output, "the misspelt field is not told"
    stats = await api.stats("mailing")
    assert [stats[name] for name in ("waiting", "inFlight", "scheduled", "dead")] == [0, 0, 1, 0]


async def test_every_line_with_curl_of_the_ancestor_works(api: Api, tmp_path: Path) -> None:
    created, stored, received = map(json.loads, re.findall(r"{.*?}(?={|$)", await in_bash(ANCESTORS, api, tmp_path)))
    assert (created["name"], created["ready"]) == ("my-queue", True)
    assert not stored["duplicate"]
    (message,) = received["messages"]
    assert (message["id"], message["payload"], message["maxAttempts"]) == (stored["id"], {"key": "value"}, 4)
    assert (await api("GET", "/v1/queues/my-dlq")).status == 200


async def test_the_demo_s_last_step_follows_a_task_from_curl_to_its_end(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Cluster, capfd: pytest.CaptureFixture[str]
) -> None:
    """`make demo` does the same, with workers in pods."""
    spec = {"history": {}}
    assert (await api("POST", "/v1/queues?wait=60", {"name": "modules", "spec": spec})).status == 201
    monkeypatch.setenv("PROTOQUEUE_GATEWAY_URL", api.url)
    monkeypatch.setenv("PROTOQUEUE_API_KEY", str(api.key))
    worker, names = protoqueue.Worker("default/modules", group="modules", url=cluster.nats_url), list[str]()

    @worker.handler
    async def parse(module: dict[str, str]) -> None:
        names.append(module["name"])

    with example_module("codeindex", "scenario") as scenario:
        stage = sys.modules["run"].Stage(tmp_path)
        serving = asyncio.create_task(worker.serve())
        follow = asyncio.to_thread(asyncio.run, scenario.enqueue_with_curl(stage))
        assert await follow == "Done"
        worker.stop()
        await serving
    assert names == ["scenario.py"]
    shown = capfd.readouterr().out
    assert 'curl -sSf "$PROTOQUEUE_GATEWAY_URL/v1/queues/modules/messages"' in shown
    assert "  Done      attempts=1" in shown
    assert str(api.key) not in shown


async def test_every_line_in_python_of_the_ancestor_works(
    gateway: GatewayProcess, admin_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROTOQUEUE_GATEWAY_URL", gateway.url)
    await asyncio.to_thread(ancestor_in_python, admin_key)


def ancestor_in_python(key: str) -> None:
    first, by_hand, patterns = (fence.text for fence in fences(ANCESTORS, "python"))
    seen: list[Any] = []

    async def send_email(payload: Any) -> None:
        seen.append(payload)
        queues.stop()

    def process(message: http.Message) -> None:
        raise RuntimeError(f"cannot process {message.id}")

    names: dict[str, Any] = {"send_email": send_email, "process": process, "analyze_failure": seen.append}
    exec(first.replace("your-api-key", key), names)
    queues: http.Queues = names["queues"]
    assert queues.stats("email-notifications").scheduled == 1
    queues.enqueue(queue="email-notifications", payload="now")
    queues.run()
    assert seen.pop() == "now"

    failing = queues.enqueue(queue="email-notifications", payload="fails")
    exec(by_hand, names)
    (again,) = queues.receive(queue="email-notifications")
    assert (again.id, again.attempt) == (failing.id, 2)
    queues.reject(again, "never")

    for name in ("tasks", "reminders"):
        queues.create(name=name)
    exec(patterns, names)
    assert [message.payload["n"] for message in queues.receive(queue="tasks")] == [1, 2]
    assert queues.stats("reminders").scheduled == 1
    (letter,) = seen
    assert (letter.id, letter.payload, letter.dead_letter["reason"]) == (failing.id, "fails", "Rejected")


@pytest.mark.parametrize("page", [SHELL, ANCESTORS], ids=lambda page: page.stem)
def test_every_request_that_a_page_names_exists(page: Path) -> None:
    document = json.loads((ROOT / "docs/reference/openapi.json").read_text())
    known = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    named = re.findall(r"`(GET|POST|PATCH|DELETE) …(/[^`?]*[^`?/])", page.read_text())
    assert named
    for method, end in named:
        assert any(each == method and path.endswith((end, f"{end}/ack")) for each, path in known), f"{method} …{end}"
