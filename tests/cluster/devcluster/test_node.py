"""Pods as processes, on any cluster."""

import asyncio
import base64
import json
import os
import time

import pytest

from cluster.devcluster.pods import PYTHON, Space, container, is_alive, shell
from protoqueue_devcluster.kube.client import CONFIG_MAPS, PODS, SECRETS, ApiError, Object
from waiting import eventually

FOREVER = shell("while :; do sleep 0.1; done")


def readable(path: str) -> bool:
    return os.access(path, os.R_OK)


async def pid_of(space: Space, name: str) -> int:
    """For containers that print their own pid first."""
    return int(await space.log_line(name))


async def test_a_pod_runs_with_the_environment_it_declares(space: Space) -> None:
    await space.create(SECRETS, "creds", data={"user": base64.b64encode(b"ann").decode()})
    await space.create(CONFIG_MAPS, "conf", data={"MODE": "fast"})
    names = ("NAME", "NODE", "IP", "LABEL", "USER_NAME", "MODE", "BOTH")
    script = f"import os, json; print(json.dumps({{name: os.environ[name] for name in {names!r}}}))"
    env = [
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "USER_NAME", "valueFrom": {"secretKeyRef": {"name": "creds", "key": "user"}}},
        {"name": "BOTH", "value": "$(NAME)/$(USER_NAME)"},
    ]
    spec = {
        "restartPolicy": "Never",
        "nodeSelector": {"protoqueue.dev/process-node": "true"},
        "containers": [container(["python", "-c", script], env=env, envFrom=[{"configMapRef": {"name": "conf"}}])],
    }
    await space.create(PODS, "env", metadata={"labels": {"app": "web"}}, spec=spec)
    pod = await space.reaches("env", "Succeeded")
    assert json.loads(await space.logs("env")) == {
        "NAME": "env", "NODE": pod["spec"]["nodeName"], "IP": "127.0.0.1", "LABEL": "web", "USER_NAME": "ann",
        "MODE": "fast", "BOTH": "env/ann",
    }  # fmt: skip


async def test_mounted_secrets_are_found_under_their_mount_path_and_go_with_the_pod(space: Space) -> None:
    await space.create(SECRETS, "creds", data={"token": base64.b64encode(b"s3cret").decode()})
    mounted = container(
        shell("echo $TOKEN_FILE; cat $TOKEN_FILE; echo; while :; do sleep 0.1; done"),
        env=[{"name": "TOKEN_FILE", "value": "/etc/creds/token"}],
        volumeMounts=[{"name": "v", "mountPath": "/etc/creds", "readOnly": True}],
    )
    await space.run("mount", mounted, volumes=[{"name": "v", "secret": {"secretName": "creds"}}])

    async def printed() -> list[str] | None:
        lines = (await space.logs("mount")).splitlines()
        return lines if len(lines) == 2 else None

    path, content = await eventually(printed) or []
    assert content == "s3cret"
    assert readable(path)
    await space.kubectl("delete", "pod", "mount")
    assert not readable(path)


async def test_a_container_waits_for_the_secret_it_needs(space: Space) -> None:
    reference = {"secretKeyRef": {"name": "late", "key": "k"}}
    await space.run("waits", container(shell("echo $V; sleep 60"), env=[{"name": "V", "valueFrom": reference}]))

    async def waiting() -> Object:
        state: Object = (await space.status("waits")).get("state", {}).get("waiting", {})
        return state if state.get("reason") == "CreateContainerConfigError" else {}

    assert (await eventually(waiting))["message"] == 'secret "late" not found'
    await space.create(SECRETS, "late", data={"k": base64.b64encode(b"here").decode()})
    await eventually(lambda: space.is_ready("waits"))
    assert await space.log_line("waits") == "here"


async def test_a_container_without_a_command_says_what_is_missing(space: Space) -> None:
    await space.run("image", container(None))

    async def waiting() -> Object:
        state: Object = (await space.status("image")).get("state", {}).get("waiting", {})
        return state if state.get("reason") != "ContainerCreating" else {}

    state = await eventually(waiting)
    assert state["reason"] == "ErrImagePull"
    assert "set `command`" in state["message"]
    await space.kubectl("delete", "pod", "image", "--timeout=100s")


async def test_a_program_that_does_not_exist_is_a_start_error(space: Space) -> None:
    await space.run("missing", container(["no-such-program"]), restartPolicy="Never")
    pod = await space.reaches("missing", "Failed")
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "no-such-program" in ended["message"]


async def test_a_failing_container_is_restarted_with_growing_delays_and_keeps_its_last_log(space: Space) -> None:
    await space.run("crash", container(shell("echo life $PPID; exit 3")))

    async def crash_looping() -> Object | None:
        status = await space.status("crash")
        waiting = status.get("state", {}).get("waiting", {})
        return status if waiting.get("reason") == "CrashLoopBackOff" and status["restartCount"] >= 2 else None

    status = await eventually(crash_looping)
    assert status is not None
    assert status["lastState"]["terminated"]["exitCode"] == 3
    assert "restarting failed container=main" in status["state"]["waiting"]["message"]
    assert (await space.pod("crash"))["status"]["phase"] == "Running"
    assert (await space.logs("crash", "--previous")).startswith("life")


@pytest.mark.parametrize(("code", "phase", "reason"), [(0, "Succeeded", "Completed"), (7, "Failed", "Error")])
async def test_a_pod_that_is_never_restarted_ends_as_its_container_did(
    space: Space, code: int, phase: str, reason: str
) -> None:
    await space.run("once", container(shell(f"exit {code}")), restartPolicy="Never")
    pod = await space.reaches("once", phase)
    ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (code, reason)
    await space.kubectl("delete", "pod", "once", "--timeout=100s")


async def test_init_containers_run_one_after_the_other_before_the_others(space: Space) -> None:
    steps = [container(shell(f"echo {n} >> /scratch/order"), f"init{n}") for n in (1, 2)]
    main = container(shell("cat /scratch/order; sleep 60"))
    for entry in (*steps, main):
        entry["volumeMounts"] = [{"name": "w", "mountPath": "/scratch"}]
    await space.run("inits", main, initContainers=steps, volumes=[{"name": "w", "emptyDir": {}}])
    await eventually(lambda: space.is_ready("inits"))

    async def printed() -> bool:
        return (await space.logs("inits", "-c", "main")) == "1\n2\n"

    await eventually(printed)


async def test_a_failing_init_container_holds_the_pod_back(space: Space) -> None:
    await space.run("stuck", container(FOREVER), initContainers=[container(shell("exit 1"), "init")])

    async def retried() -> bool:
        return bool((await space.status("stuck", "init")).get("restartCount", 0) >= 1)

    await eventually(retried)
    pod = await space.pod("stuck")
    assert pod["status"]["phase"] == "Pending"
    assert (await space.status("stuck"))["state"] == {"waiting": {"reason": "PodInitializing"}}


async def test_deletion_lets_the_container_finish_within_its_grace(space: Space) -> None:
    await space.run("polite", container(shell("trap 'echo bye; exit 0' TERM; echo $$$$; while :; do sleep 0.05; done")))
    pid = await pid_of(space, "polite")
    follower = await space.start_kubectl("logs", "-f", "polite")
    assert follower.stdout is not None
    first = await asyncio.wait_for(follower.stdout.readline(), 60)  # it follows: only now may the pod go
    await space.kubectl("delete", "pod", "polite", "--timeout=100s")
    rest, _ = await asyncio.wait_for(follower.communicate(), 60)
    assert (first + rest).decode() == f"{pid}\nbye\n"
    await eventually(lambda: not is_alive(pid))


async def test_what_ignores_sigterm_is_killed_after_the_grace_period_with_its_children(space: Space) -> None:
    script = "trap '' TERM; sleep 1000 & echo $! ; while :; do sleep 0.05; done"
    await space.run("stubborn", container(shell(script)), terminationGracePeriodSeconds=1)
    child = await pid_of(space, "stubborn")
    started = time.monotonic()
    await space.kubectl("delete", "pod", "stubborn", "--timeout=100s")
    assert time.monotonic() - started >= 1
    await eventually(lambda: not is_alive(child))


async def test_a_forced_deletion_leaves_no_process(space: Space) -> None:
    stubborn = container(shell("echo $$$$; trap '' TERM; while :; do sleep 0.05; done"))
    await space.run("forced", stubborn, terminationGracePeriodSeconds=1)
    pid = await pid_of(space, "forced")
    await space.kubectl("delete", "pod", "forced", "--force", "--grace-period=0")
    await eventually(lambda: not is_alive(pid))


async def test_readiness_follows_the_probe(space: Space) -> None:
    probe = {"exec": {"command": ["test", "-e", "/flag/up"]}, "periodSeconds": 1, "failureThreshold": 1}
    main = container(
        shell("echo $FLAG; sleep 60"),
        env=[{"name": "FLAG", "value": "/flag/up"}],
        readinessProbe=probe,
        volumeMounts=[{"name": "f", "mountPath": "/flag"}],
    )
    await space.run("ready", main, volumes=[{"name": "f", "emptyDir": {}}])
    flag = await space.log_line("ready")
    assert not await space.is_ready("ready")
    os.mknod(flag)
    await eventually(lambda: space.is_ready("ready"))
    os.unlink(flag)

    async def unready() -> bool:
        return not await space.is_ready("ready")

    await eventually(unready)
    assert (await space.status("ready"))["restartCount"] == 0


async def test_a_failed_liveness_probe_restarts_the_container(space: Space) -> None:
    probe = {"httpGet": {"port": "web", "path": "/"}, "periodSeconds": 1, "failureThreshold": 1}
    server = (
        "import http.server, os\n"
        "class Once(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self): self.send_response(500); self.end_headers()\n"
        "http.server.HTTPServer(('127.0.0.1', int(os.environ['PORT'])), Once).serve_forever()\n"
    )
    main = container([PYTHON, "-c", server], env=[{"name": "PORT", "value": "39141"}], livenessProbe=probe)
    main["ports"] = [{"name": "web", "containerPort": 39141}]
    await space.run("alive", main)

    async def restarted() -> bool:
        return bool((await space.status("alive")).get("restartCount", 0) >= 1)

    await eventually(restarted)


async def test_other_probes_wait_for_the_startup_probe(space: Space) -> None:
    main = container(
        shell("echo $FLAG; sleep 60"),
        env=[{"name": "FLAG", "value": "/flag/up"}],
        startupProbe={"exec": {"command": ["test", "-e", "/flag/up"]}, "periodSeconds": 1, "failureThreshold": 60},
        livenessProbe={"exec": {"command": ["test", "-e", "/flag/up"]}, "periodSeconds": 1, "failureThreshold": 1},
        volumeMounts=[{"name": "f", "mountPath": "/flag"}],
    )
    await space.run("starts", main, volumes=[{"name": "f", "emptyDir": {}}])
    flag = await space.log_line("starts")
    status = await space.status("starts")
    assert (status["started"], status["ready"], status["restartCount"]) == (False, False, 0)
    os.mknod(flag)
    await eventually(lambda: space.is_ready("starts"))
    assert (await space.status("starts"))["started"] is True


async def test_logs_can_be_followed_cut_and_dated(space: Space) -> None:
    await space.run("talks", container(shell("echo one; echo two >&2; echo three; sleep 60")))
    await eventually(lambda: space.is_ready("talks"))

    async def complete() -> bool:
        return (await space.logs("talks")) == "one\ntwo\nthree\n"

    await eventually(complete)
    assert await space.logs("talks", "--tail=1") == "three\n"
    assert await space.logs("talks", "--limit-bytes=5") == "one\nt"
    dated = (await space.logs("talks", "--timestamps", "--since=1h")).splitlines()
    assert [line.split(" ", 1)[1] for line in dated] == ["one", "two", "three"]


async def test_logs_of_an_unknown_life_are_refused(space: Space) -> None:
    await space.run("young", container(FOREVER))
    await eventually(lambda: space.is_ready("young"))
    with pytest.raises(AssertionError, match="previous terminated container"):
        await space.logs("young", "--previous")


async def test_a_pods_successor_of_the_same_name_is_another_pod(space: Space) -> None:
    await space.run("again", container(shell("echo $$$$; exec sleep 60")))
    first = await pid_of(space, "again")
    await space.kubectl("delete", "pod", "again", "--timeout=100s")
    await space.run("again", container(shell("echo $$$$; exec sleep 60")))
    second = await pid_of(space, "again")
    assert second != first
    assert (await space.status("again"))["restartCount"] == 0


async def test_the_node_describes_itself(space: Space) -> None:
    await space.run("somewhere", container(FOREVER))
    await eventually(lambda: space.is_ready("somewhere"))
    name = (await space.pod("somewhere"))["spec"]["nodeName"]
    node = json.loads(await space.kubectl("get", "node", name, "-o", "json"))
    assert node["metadata"]["labels"]["kubernetes.io/hostname"] == name
    assert {each["type"] for each in node["status"]["addresses"]} == {"InternalIP"}, "no name that is not resolved"
    lease = json.loads(await space.kubectl("get", "lease", name, "-n", "kube-node-lease", "-o", "json"))
    assert lease["spec"]["holderIdentity"] == name
    with pytest.raises(ApiError):
        await space.pod("nowhere")


async def test_logs_of_a_container_that_waits_say_what_it_waits_for(space: Space) -> None:
    reference = {"secretKeyRef": {"name": "never", "key": "k"}}
    await space.run("waits", container(FOREVER, env=[{"name": "V", "valueFrom": reference}]))

    async def refused() -> bool:
        with pytest.raises(AssertionError, match=r"waiting to start: CreateContainerConfigError"):
            await space.logs("waits")
        return True

    await eventually(refused)


async def test_describe_tells_what_happened_to_a_pod(space: Space) -> None:
    await space.run("crash", container(shell("exit 3")))

    async def restarted_twice() -> bool:
        return bool((await space.status("crash")).get("restartCount", 0) >= 2)

    await eventually(restarted_twice)

    async def told() -> bool:
        text = await space.kubectl("describe", "pod", "crash")
        assert "Started container main" in text
        assert "Back-off restarting failed container main" in text
        return True

    await eventually(told)


async def test_a_mounted_secret_keeps_its_file_mode(space: Space) -> None:
    await space.create(SECRETS, "creds", data={"key": base64.b64encode(b"k").decode()})
    main = container(shell("stat -c %a /etc/creds/key"), volumeMounts=[{"name": "v", "mountPath": "/etc/creds"}])
    volume = {"name": "v", "secret": {"secretName": "creds", "defaultMode": 0o400}}
    await space.run("mode", main, volumes=[volume], restartPolicy="Never")
    await space.reaches("mode", "Succeeded")
    assert await space.logs("mode") == "400\n"
