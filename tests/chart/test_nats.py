"""The bundled NATS, judged by the real nats-server."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nats
from chart.rendering import Object, Values, only, render
from nats_server import free_port
from waiting import eventually

NATS_SERVER = shutil.which("nats-server", path=str(Path(sys.executable).parent))


def config(values: Values) -> str:
    return str(only(render(values), "ConfigMap", "pq-protoqueue-nats")["data"]["nats.conf"])


@pytest.mark.parametrize("replicas", [1, 3])
@pytest.mark.parametrize("interval", ["2m", "30s", "always"])
def test_nats_server_accepts_the_configuration(tmp_path: Path, replicas: int, interval: str) -> None:
    assert NATS_SERVER
    file = tmp_path / "nats.conf"
    file.write_text(config({"nats": {"bundled": {"replicas": replicas, "syncInterval": interval}}}))
    done = subprocess.run(
        [NATS_SERVER, "-t", "--config", str(file)],
        env={"POD_NAME": "pq-protoqueue-nats-0"},
        capture_output=True,
        text=True,
        timeout=10,
    )
    assert done.returncode == 0, done.stderr
    assert "is valid" in done.stderr


def test_three_servers_are_routed_to_each_other_by_the_names_the_statefulset_gives_them() -> None:
    objects = render({"nats": {"bundled": {"replicas": 3}}})
    stateful = only(objects, "StatefulSet")
    service = only(objects, "Service", stateful["spec"]["serviceName"])
    assert service["spec"]["publishNotReadyAddresses"]
    pods = [f"{stateful['metadata']['name']}-{ordinal}" for ordinal in range(stateful["spec"]["replicas"])]
    hosts = re.findall(r"nats://(\S+):6222", config({"nats": {"bundled": {"replicas": 3}}}))
    assert hosts == [f"{pod}.{service['metadata']['name']}.queues.svc" for pod in pods]


async def test_three_servers_form_a_cluster_that_keeps_three_copies(tmp_path: Path) -> None:
    ports = [free_port() for _ in range(9)]
    servers = [start_here(tmp_path, ordinal, ports) for ordinal in range(3)]
    try:
        await eventually(lambda: keeps_three_copies(f"nats://127.0.0.1:{ports[0]}"), timeout_s=30, interval_s=0.5)
    finally:
        for server in servers:
            server.kill()
            server.wait()


def start_here(directory: Path, ordinal: int, ports: list[int]) -> subprocess.Popen[bytes]:
    """One of three servers with its configuration as it is, but for places: a machine's ports for a host each."""
    client, monitor, routes = ports[ordinal], ports[3 + ordinal], ports[6:]
    text = config({"nats": {"bundled": {"replicas": 3}}})
    text = text.replace("http_port: 8222", f"http_port: {monitor}")
    text = text.replace("port: 4222", f"host: 127.0.0.1\nport: {client}")
    text = text.replace("port: 6222", f"host: 127.0.0.1\nport: {routes[ordinal]}")
    for other, port in enumerate(routes):
        text = re.sub(rf"nats://pq-protoqueue-nats-{other}\S+:6222", f"nats://127.0.0.1:{port}", text)
    text = text.replace("/data", f"{directory}/data-{ordinal}").replace("/tmp/nats.pid", f"{directory}/{ordinal}.pid")
    file = directory / f"{ordinal}.conf"
    file.write_text(text)
    command = [str(NATS_SERVER), "--config", str(file), "--log", str(directory / f"{ordinal}.log")]
    return subprocess.Popen(command, env={"POD_NAME": f"pq-protoqueue-nats-{ordinal}"})


async def keeps_three_copies(url: str) -> bool:
    try:
        async with await nats.connect(url, allow_reconnect=False, connect_timeout=1) as client:
            stream = await client.jetstream(timeout=2).add_stream(name="copies", subjects=["copies"], num_replicas=3)
    except (OSError, nats.errors.Error):
        return False
    return stream.cluster is not None and len(stream.cluster.replicas or ()) == 2


def test_a_server_alone_forms_no_cluster() -> None:
    assert "cluster {" not in config({})


def test_jetstream_leaves_a_tenth_of_its_volume_free() -> None:
    objects = render({"nats": {"bundled": {"storage": {"size": "20Gi"}}}})
    (claim,) = only(objects, "StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    assert f"max_file_store: {20 * 2**30 * 9 // 10}" in config({"nats": {"bundled": {"storage": {"size": "20Gi"}}}})


def operator_container(values: Values) -> Object:
    container: Object = only(render(values), "Deployment")["spec"]["template"]["spec"]["containers"][0]
    return container


def test_the_operator_is_told_the_bundled_server_by_its_service() -> None:
    environment = {each["name"]: each.get("value") for each in operator_container({})["env"]}
    assert environment["PROTOQUEUE_NATS_URL"] == "nats://pq-protoqueue-nats.queues.svc:4222"
    assert only(render({}), "Service", "pq-protoqueue-nats")


def test_an_existing_secret_is_mounted_and_its_content_nowhere_written_out() -> None:
    values: Values = {"nats": {"bundled": {"enabled": False}, "existingSecret": "account"}}
    container = operator_container(values)
    (url, directory) = container["env"]
    assert url["valueFrom"] == {"secretKeyRef": {"name": "account", "key": "url"}}
    mounts = {each["mountPath"]: each for each in container["volumeMounts"]}
    assert mounts[directory["value"]]["readOnly"]
    assert not [each for each in render(values) if each["kind"] == "StatefulSet"]


def test_only_who_is_named_reaches_a_closed_server() -> None:
    peers = [{"namespaceSelector": {"matchLabels": {"queues": "yes"}}}]
    policy = only(
        render({"networkPolicy": {"enabled": True, "natsFrom": peers}}), "NetworkPolicy", "pq-protoqueue-nats"
    )
    clients, servers = policy["spec"]["ingress"]
    assert peers[0] in clients["from"]
    components = {
        each["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for each in clients["from"]
        if "podSelector" in each
    }
    assert components == {"operator", "test"}
    assert [port["port"] for port in servers["ports"]] == ["cluster"]
