"""The images, built and run for real where a docker daemon is at hand or root can start one; elsewhere skipped.

Two minutes, most of them for the base image and the packages in it.
"""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from chart.docker import Docker, docker
from chart.releasing import Cluster, running_cluster
from chart.rendering import ROOT
from ports import free_port
from waiting import eventually

pytestmark = pytest.mark.timeout(900)  # a base system, a virtual environment and three images are made

CONFINED = ("run", "--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")
MB = 1_000_000


@pytest.fixture(scope="module")
def engine() -> Iterator[Docker]:
    with docker() as running:
        yield running


@pytest.fixture(scope="module")
def operator_image(engine: Docker) -> str:
    return engine.build("operator", ROOT)


@pytest.fixture(scope="module")
def cli_image(engine: Docker) -> str:
    return engine.build("cli", ROOT)


@pytest.fixture(scope="module")
def gateway_image(engine: Docker) -> str:
    return engine.build("gateway", ROOT)


@pytest.fixture(scope="module")
def standalone_image(engine: Docker) -> str:
    return engine.build("standalone", ROOT)


@pytest.fixture(scope="module")
def worker_image(engine: Docker) -> str:
    return engine.build("worker", ROOT)


def inspect(engine: Docker, image: str) -> dict[str, Any]:
    (found,) = json.loads(engine("image", "inspect", image))
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("image", ["operator_image", "gateway_image", "cli_image"])
def test_an_image_made_from_scratch_is_small(engine: Docker, image: str, request: pytest.FixtureRequest) -> None:
    name = request.getfixturevalue(image)
    size = inspect(engine, name)["Size"]
    print(f"{name}: {size / MB:.0f} MB")  # noqa: T201 - what `make images` is asked for
    assert size <= 150 * MB


def test_equal_inputs_give_equal_files(engine: Docker, cli_image: str, tmp_path: Path) -> None:
    before = ours(engine.files(cli_image, tmp_path))
    again = ours(engine.files(engine.build("cli", ROOT, "--no-cache"), tmp_path))
    assert "opt/venv/bin/protoqueue" in before
    assert {path for path in before.keys() | again.keys() if before.get(path) != again.get(path)} == set()


def ours(files: dict[str, tuple[object, ...]]) -> dict[str, tuple[object, ...]]:
    """Without what docker puts into every container it makes."""
    return {path: about for path, about in files.items() if path.startswith(("opt/", "usr/"))}


@pytest.mark.parametrize("image", ["operator_image", "gateway_image", "cli_image", "worker_image", "standalone_image"])
def test_an_image_runs_as_a_numeric_user_without_rights_and_says_what_it_is(
    engine: Docker, image: str, request: pytest.FixtureRequest
) -> None:
    config = inspect(engine, request.getfixturevalue(image))["Config"]
    assert config["User"] == "65532:65532"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT"
    assert config["Labels"]["org.opencontainers.image.version"] == "0.1.0"


@pytest.mark.parametrize("image", ["operator_image", "gateway_image", "cli_image"])
@pytest.mark.parametrize("tool", ["sh", "bash", "pip", "gcc", "apt-get"])
def test_an_image_made_from_scratch_holds_no_tools(
    engine: Docker, image: str, tool: str, request: pytest.FixtureRequest
) -> None:
    name = request.getfixturevalue(image)
    assert "executable file not found" in engine(*CONFINED, "--entrypoint", tool, name, "--version", check=False)


def test_no_compiler_is_left_in_the_image_that_users_build_on(engine: Docker, worker_image: str) -> None:
    find = "import shutil; print(*filter(shutil.which, ['gcc', 'cc', 'make', 'git', 'curl']), sep=',', end='.')"
    assert engine(*CONFINED, "--entrypoint", "python", worker_image, "-c", find) == "."


def test_the_command_line_runs_confined(engine: Docker, cli_image: str) -> None:
    assert "enqueue" in engine(*CONFINED, "--network", "none", cli_image, "--help")


def test_a_users_worker_is_built_on_the_worker_image(engine: Docker, worker_image: str, tmp_path: Path) -> None:
    (tmp_path / "mailer.py").write_text(
        "import protoqueue\nworker = protoqueue.Worker('default/email', group='mailers')\n"
    )
    (tmp_path / "Dockerfile").write_text(f'FROM {worker_image}\nCOPY mailer.py .\nCMD ["mailer:worker"]\n')
    engine("build", "--tag", "protoqueue-test/mailer", str(tmp_path))
    look = "import mailer; print(type(mailer.worker).__name__)"
    assert "Worker" in engine(*CONFINED, "--entrypoint", "python", "protoqueue-test/mailer", "-c", look)


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


async def test_the_operator_image_reconciles_a_queue(engine: Docker, operator_image: str, cluster: Cluster) -> None:
    for path in (ROOT / "crds").iterdir():
        await cluster.kubectl("apply", "--server-side", "-f", str(path))
    queue = {"apiVersion": "protoqueue.dev/v1alpha1", "kind": "Queue", "metadata": {"name": "email"}, "spec": {}}
    await cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(queue))
    readable = cluster.kubeconfig.with_name("kubeconfig-for-all")
    readable.write_text(cluster.kubeconfig.read_text())
    readable.chmod(0o644)

    mount = f"type=bind,source={readable},target=/kubeconfig,readonly"
    environment = ("--env", "KUBECONFIG=/kubeconfig", "--env", f"PROTOQUEUE_NATS_URL={cluster.values['nats']['url']}")
    engine(
        *CONFINED, "--detach", "--name", "operator", "--network", "host", "--mount", mount, *environment, operator_image
    )
    try:

        async def ready() -> bool:
            conditions = (await cluster.get("queue", "email")).get("status", {}).get("conditions", [])
            return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

        await eventually(ready)
    finally:
        engine("stop", "--time", "10", "operator", check=False)


TOLD = re.compile(r"Queues over HTTP: \S+ with the key (\S+), which may do everything")


async def told_key(logs: Callable[[], str]) -> str:
    found = await eventually(lambda: TOLD.search(logs()))
    assert found
    return found[1]


async def keeps_a_task(url: str, key: str, restart: Callable[[], object]) -> None:
    async def call(method: str, path: str, body: object = None) -> Any:
        async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {key}"}) as session:
            async with session.request(method, path, json=body) as answer:
                return await answer.json()

    await call("POST", "/v1/queues?wait=60", {"name": "email"})
    sent = await call("POST", "/v1/queues/email/messages", {"payload": {"to": "ada"}})
    restart()

    async def is_received() -> bool:
        try:
            answer = await call("GET", "/v1/queues/email/messages?wait=1")
        except aiohttp.ClientError:
            return False
        return [message["id"] for message in answer.get("messages", [])] == [sent["id"]]

    await eventually(is_received)


async def test_the_standalone_image_keeps_queues_tasks_and_key_over_a_restart(
    engine: Docker, standalone_image: str
) -> None:
    port = free_port()
    network = ["--publish", f"127.0.0.1:{port}:8080"] if engine.has_networks else ["--network", "host"]
    engine("run", "--detach", "--name", "standalone", *network, "--volume", "standalone:/data", standalone_image)
    try:
        key = await told_key(lambda: engine("logs", "standalone"))
        url = f"http://127.0.0.1:{port if engine.has_networks else 8080}"
        await keeps_a_task(url, key, lambda: engine("restart", "standalone"))
    finally:
        engine("rm", "--force", "standalone", check=False)
        engine("volume", "rm", "standalone", check=False)


async def test_docker_compose_up_serves_queues_over_http(engine: Docker, standalone_image: str, tmp_path: Path) -> None:
    if not engine.has_networks:
        pytest.skip("the docker daemon has no networks, on which compose puts everything")
    if "ersion" not in engine("compose", "version", check=False):
        pytest.skip("there is no docker compose here")
    stated, port = yaml.safe_load((ROOT / "compose.yaml").read_text()), free_port()
    service = stated["services"]["protoqueue"]
    assert service.pop("build") == {"context": ".", "target": "standalone"}
    assert service["ports"] == ["8080:8080"]
    service |= {"image": standalone_image, "ports": [f"127.0.0.1:{port}:8080"]}
    file = tmp_path / "compose.yaml"
    file.write_text(yaml.safe_dump(stated))

    def compose(*arguments: str, check: bool = True) -> str:
        return engine("compose", "--project-name", "protoqueue-test", "--file", str(file), *arguments, check=check)

    compose("up", "--detach")
    try:
        key = await told_key(lambda: compose("logs", "--no-log-prefix"))
        await keeps_a_task(f"http://127.0.0.1:{port}", key, lambda: compose("restart"))
    finally:
        compose("down", "--volumes", check=False)
