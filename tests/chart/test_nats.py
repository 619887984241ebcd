"""The bundled NATS, judged by the real nats-server."""

import asyncio
import contextlib
import itertools
import re
import shutil
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import trustme

import nats
from chart.rendering import Object, Values, only, pod_specs, render
from ports import free_port
from waiting import eventually

GUARDED: Values = {"nats": {"bundled": {"authSecret": "door", "tlsSecret": "certificate"}}}
PASSWORD = '2m ${a} \\n "b" # {c}'
"""With much of what means something in the server's configuration."""

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


@pytest.mark.parametrize("guard", [{}, GUARDED["nats"]["bundled"]], ids=["open", "guarded"])
async def test_three_servers_form_a_cluster_that_keeps_three_copies(tmp_path: Path, guard: Object) -> None:
    values: Values = {"networkPolicy": {"enabled": True}, "nats": {"bundled": {"replicas": 3, **guard}}}
    trusted = certificates(tmp_path)
    ports = [free_port() for _ in range(9)]
    access = {"tls": trusted, "user": "queues", "password": PASSWORD} if guard else {}
    url = f"nats://127.0.0.1:{ports[0]}"
    with running_here(tmp_path, values, ports):
        await eventually(lambda: keeps_three_copies(url, access), interval_s=0.5)


async def test_a_guarded_server_lets_nobody_in_without_password_and_tls(tmp_path: Path) -> None:
    trusted = certificates(tmp_path)
    port = free_port()
    url = f"nats://127.0.0.1:{port}"
    right = {"user": "queues", "password": PASSWORD, "tls": trusted}
    with running_here(tmp_path, GUARDED, [port, free_port()]):
        await eventually(lambda: lets_in(url, right), interval_s=0.2)
        assert not await lets_in(url, right | {"password": "wrong"})
        assert not await lets_in(url, {"tls": trusted})
        assert not await lets_in(url, right | {"tls": None})
        assert not await lets_in(url, right | {"tls": ssl.create_default_context()})


async def test_a_server_alone_that_is_asked_to_end_ends_at_once(tmp_path: Path) -> None:
    """As the kubelet asks: the hook before the stop, if there is one, then SIGTERM. Nothing is published meanwhile."""
    port = free_port()
    (container,) = only(render({}), "StatefulSet")["spec"]["template"]["spec"]["containers"]
    with running_here(tmp_path, {}, [port, free_port()]) as (server,):
        await eventually(lambda: lets_in(f"nats://127.0.0.1:{port}", {}), timeout_s=60, interval_s=0.2)
        async with await nats.connect(f"nats://127.0.0.1:{port}", allow_reconnect=False):
            asked = time.monotonic()
            if hook := container.get("lifecycle", {}).get("preStop"):
                command = [each.replace("/tmp/nats.pid", f"{tmp_path}/0.pid") for each in hook["exec"]["command"]]
                await asyncio.to_thread(subprocess.run, [str(NATS_SERVER), *command[1:]], check=True, timeout=100)
            server.terminate()
            await asyncio.to_thread(server.wait, 60)
            assert time.monotonic() - asked < 4, "a lame duck's grace alone is five seconds"


def certificates(directory: Path) -> ssl.SSLContext:
    """Write the files of the Secret `certificate`; what is given back trusts their authority."""
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    made.private_key_pem.write_to_path(directory / "tls.key")
    made.cert_chain_pems[0].write_to_path(directory / "tls.crt")
    authority.cert_pem.write_to_path(directory / "ca.crt")
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    return trusted


@contextlib.contextmanager
def running_here(directory: Path, values: Values, ports: Sequence[int]) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """The servers with their configuration as it is, but for places: a machine's ports for a host each.

    `ports` are those for clients, then those for probes, then, of several servers, those for routes.
    """
    objects = render(values)
    (container,) = only(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    text = config(values).replace("/etc/nats-tls", str(directory))
    count = only(objects, "StatefulSet")["spec"]["replicas"]
    client, monitor, route = ports[:count], ports[count : 2 * count], ports[2 * count :]
    for other, port in enumerate(route):
        text = re.sub(rf"nats://pq-protoqueue-nats-{other}\S+:6222", f"nats://127.0.0.1:{port}", text)
    servers = []
    with contextlib.ExitStack() as stack:
        for ordinal in range(count):
            own = text.replace("http_port: 8222", f"http_port: {monitor[ordinal]}")
            own = own.replace("port: 4222", f"host: 127.0.0.1\nport: {client[ordinal]}")
            if route:
                own = own.replace("port: 6222", f"host: 127.0.0.1\nport: {route[ordinal]}")
            own = own.replace("/data", f"{directory}/data-{ordinal}")
            own = own.replace("/tmp/nats.pid", f"{directory}/{ordinal}.pid")
            variables = environment(container, f"pq-protoqueue-nats-{ordinal}")
            servers.append(stack.enter_context(running(directory, own, variables)))
        yield servers


@contextlib.contextmanager
def running(directory: Path, text: str, variables: dict[str, str]) -> Iterator["subprocess.Popen[bytes]"]:
    file = directory / f"{variables['POD_NAME']}.conf"
    file.write_text(text)
    server = subprocess.Popen([str(NATS_SERVER), "--config", str(file), "--log", f"{file}.log"], env=variables)
    try:
        yield server
    finally:
        server.kill()
        server.wait()


def environment(container: Object, pod: str) -> dict[str, str]:
    """What the kubelet would make of the container's variables and a Secret `door`."""
    secret = {"user": "queues", "password": PASSWORD}
    found: dict[str, str] = {}
    for each in container["env"]:
        if "value" in each:
            found[each["name"]] = re.sub(r"\$\((\w+)\)", lambda match: found[match[1]], each["value"])
        elif "fieldRef" in each["valueFrom"]:
            found[each["name"]] = pod
        else:
            found[each["name"]] = secret[each["valueFrom"]["secretKeyRef"]["key"]]
    return found


async def lets_in(url: str, access: Object) -> bool:
    with contextlib.suppress(OSError, ValueError, nats.errors.Error):
        async with await nats.connect(url, allow_reconnect=False, connect_timeout=1, **access):
            return True
    return False


async def keeps_three_copies(url: str, access: Object) -> bool:
    try:
        async with await nats.connect(url, allow_reconnect=False, connect_timeout=1, **access) as client:
            stream = await client.jetstream(timeout=2).add_stream(name="copies", subjects=["copies"], num_replicas=3)
    except (OSError, nats.errors.Error):
        return False
    return stream.cluster is not None and len(stream.cluster.replicas or ()) == 2


def test_a_server_alone_forms_no_cluster() -> None:
    assert "cluster {" not in config({})


def test_one_server_and_three_have_nothing_stored_in_common() -> None:
    """A cluster that finds the streams of a server alone deletes them as orphaned, half a minute after it started."""
    stores = [
        Path(re.findall(r"store_dir: (\S+)", config({"nats": {"bundled": {"replicas": replicas}}}))[0])
        for replicas in (1, 3)
    ]
    assert not any(one.is_relative_to(other) for one, other in itertools.permutations(stores))
    assert all(store.is_relative_to("/data") for store in stores), "the volume"


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


def test_the_operator_gets_what_a_guarded_server_wants_and_not_the_servers_key() -> None:
    environment = {each["name"]: each.get("value") for each in operator_container(GUARDED)["env"]}
    assert environment["PROTOQUEUE_NATS_URL"] == "tls://pq-protoqueue-nats.queues.svc:4222"
    for where, spec in pod_specs(render(GUARDED)):
        if "StatefulSet" not in where and not where.endswith("-release"):  # which asks NATS nothing
            (container,) = spec["containers"]
            mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
            assert mounts["nats"] == environment["PROTOQUEUE_NATS_SECRET_DIR"]
            (volume,) = (each for each in spec["volumes"] if each["name"] == "nats")
            secrets = [source["secret"] for source in volume["projected"]["sources"]]
            shown = {each["name"]: [item["path"] for item in each["items"]] for each in secrets}
            assert shown == {"door": ["user", "password"], "certificate": ["ca.crt"]}


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
