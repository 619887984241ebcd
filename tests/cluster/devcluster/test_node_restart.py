"""What happens to pods when the node process goes: killed, or stopped and started again."""

import subprocess
import sys
from pathlib import Path

from cluster.devcluster.pods import Space, container, is_alive, shell
from protoqueue_devcluster.components import node_is_ready, running_apiserver, running_controllers, running_node
from protoqueue_devcluster.kube.client import NAMESPACES, NODES, PODS, KubeClient, Object
from waiting import eventually

PRINTS_PID = container(shell("echo $$$$; exec sleep 1000"))


async def restarted(space: Space, name: str) -> Object | None:
    status = await space.status(name)
    return status if status.get("restartCount") == 1 and status["ready"] else None


async def test_pods_are_killed_with_their_node_and_started_again_by_its_successor(tmp_path: Path) -> None:
    async with (
        running_apiserver(tmp_path) as api,
        running_controllers(api.kubeconfig, tmp_path),
        KubeClient(api.kubeconfig, "test") as client,
    ):
        space = Space(client, api.kubeconfig, "default")
        async with running_node(api.kubeconfig, tmp_path) as node:
            await space.run("stays", PRINTS_PID)
            await space.run("once", PRINTS_PID, restartPolicy="Never")
            pids = [int(await space.log_line(name)) for name in ("stays", "once")]
            node.kill()
            await node.wait()
            await eventually(lambda: not any(is_alive(pid) for pid in pids))
        async with running_node(api.kubeconfig, tmp_path):
            status = await eventually(lambda: restarted(space, "stays"))
            assert status is not None
            assert status["lastState"]["terminated"]["exitCode"] == 137
            once = await space.reaches("once", "Failed")
            assert once["status"]["containerStatuses"][0]["restartCount"] == 0
            assert int(await space.log_line("stays")) not in pids


async def test_a_stopped_node_stops_its_pods_says_so_and_takes_them_up_again(tmp_path: Path) -> None:
    async with running_apiserver(tmp_path) as api, KubeClient(api.kubeconfig, "test") as client:
        space = Space(client, api.kubeconfig, "default")
        async with running_controllers(api.kubeconfig, tmp_path):
            async with running_node(api.kubeconfig, tmp_path):
                await space.run("stays", PRINTS_PID)
                pid = int(await space.log_line("stays"))
            assert not is_alive(pid)
            ready = (await client.get(NODES, "process-node"))["status"]["conditions"][-1]
            assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "False", "NodeStopped")
            await space.run("later", PRINTS_PID)
            assert (await space.pod("later"))["spec"].get("nodeName") is None
            async with running_node(api.kubeconfig, tmp_path):
                await eventually(lambda: restarted(space, "stays"))
                await space.reaches("later", "Running")


async def test_a_guest_binds_what_selects_it_and_leaves_the_rest_alone(tmp_path: Path) -> None:
    async with (
        running_apiserver(tmp_path) as api,
        running_node(api.kubeconfig, tmp_path, "guest", bind=True),
        KubeClient(api.kubeconfig, "test") as client,
    ):
        space = Space(client, api.kubeconfig, "default")
        await space.run("asks", PRINTS_PID)
        await space.create(PODS, "other", spec={"containers": [PRINTS_PID]})
        await space.create(PODS, "assigned", spec={"containers": [PRINTS_PID], "nodeName": "guest"})
        pod = await space.reaches("asks", "Running")
        assert pod["spec"]["nodeName"] == "guest"
        assert (await space.pod("other"))["spec"].get("nodeName") is None
        assert (await space.status("assigned")) == {}, "a daemon of the cluster is not run on this machine"
        (taint,) = (await client.get(NODES, "guest"))["spec"]["taints"]
        assert taint["effect"] == "NoSchedule"


async def test_a_node_whose_object_is_lost_registers_again(tmp_path: Path) -> None:
    async with (
        running_apiserver(tmp_path) as api,
        running_node(api.kubeconfig, tmp_path),
        KubeClient(api.kubeconfig, "test") as client,
    ):
        node = await client.get(NODES, "process-node")
        await client.delete(NODES, "process-node", None, node["metadata"]["uid"])
        await eventually(lambda: node_is_ready(client, "process-node"))


def test_a_node_without_a_cluster_says_so_and_ends(tmp_path: Path) -> None:
    arguments = ["--kubeconfig", "/nowhere", "--name", "n", "--dir", str(tmp_path)]
    command = [sys.executable, "-m", "protoqueue_devcluster.node", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 1
    assert "/nowhere" in ended.stderr


async def test_namespaces_that_are_deleted_take_their_pods_with_them(tmp_path: Path) -> None:
    async with (
        running_apiserver(tmp_path) as api,
        running_controllers(api.kubeconfig, tmp_path),
        running_node(api.kubeconfig, tmp_path),
        KubeClient(api.kubeconfig, "test") as client,
    ):
        made = await client.create(NAMESPACES, {"metadata": {"name": "short"}})
        space = Space(client, api.kubeconfig, "short")
        await space.run("p", PRINTS_PID)
        pid = int(await space.log_line("p"))
        await client.delete(NAMESPACES, "short", None, made["metadata"]["uid"])
        await eventually(lambda: not is_alive(pid))
        await eventually(lambda: space.gone(NAMESPACES, "short"))
