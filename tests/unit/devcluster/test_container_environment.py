import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from protoqueue_devcluster.node.environment import declared_environment, expand, invocation, machine_environment
from protoqueue_devcluster.node.fields import quantity
from protoqueue_devcluster.node.podspec import PodSpec, parse_pod
from protoqueue_devcluster.node.sources import ConfigurationMissing
from protoqueue_devcluster.node.volumes import MountedPaths, materialise, mounted_paths


@dataclass
class Stored:
    """Secrets and ConfigMaps by name."""

    secrets: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    config_maps: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)

    async def secret(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        return self.secrets.get(name)

    async def config_map(self, namespace: str, name: str) -> Mapping[str, bytes] | None:
        return self.config_maps.get(name)


STORED = Stored({"creds": {"user": b"ann", "pass": b"s3cret"}}, {"conf": {"MODE": b"fast", "key.txt": b"text"}})


def pod_of(container: Mapping[str, Any], **spec: Any) -> PodSpec:
    metadata = {"uid": "u-1", "namespace": "ns", "name": "p", "labels": {"app": "web"}, "annotations": {"note": "x"}}
    return parse_pod(
        {"metadata": metadata, "spec": {"nodeName": "n", **spec, "containers": [{"name": "c", **container}]}}
    )


async def environment_of(*env: Mapping[str, Any], env_from: list[Mapping[str, Any]] | None = None) -> dict[str, str]:
    pod = pod_of({"env": list(env), "envFrom": env_from or [], "resources": {"limits": {"memory": "64Mi"}}})
    return await declared_environment(pod, pod.containers[0], STORED)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [("$(A)", "1"), ("$(A)-$(A)", "1-1"), ("$$(A)", "$(A)"), ("$(MISSING)", "$(MISSING)"), ("$A", "$A"), ("5$", "5$")],
)
def test_references_to_variables_expand_as_kubernetes_documents(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1"}) == expanded


async def test_a_variable_may_use_those_before_it() -> None:
    assert await environment_of({"name": "A", "value": "1"}, {"name": "B", "value": "$(A)2"}) == {"A": "1", "B": "12"}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ({"fieldRef": {"fieldPath": "metadata.name"}}, "p"),
        ({"fieldRef": {"fieldPath": "metadata.labels['app']"}}, "web"),
        ({"fieldRef": {"fieldPath": "metadata.annotations['note']"}}, "x"),
        ({"fieldRef": {"fieldPath": "spec.nodeName"}}, "n"),
        ({"fieldRef": {"fieldPath": "status.podIP"}}, "127.0.0.1"),
        ({"secretKeyRef": {"name": "creds", "key": "user"}}, "ann"),
        ({"configMapKeyRef": {"name": "conf", "key": "MODE"}}, "fast"),
        ({"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}, "64"),
    ],
)
async def test_a_value_comes_from_its_source(source: Mapping[str, Any], value: str) -> None:
    assert await environment_of({"name": "V", "valueFrom": source}) == {"V": value}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"secretKeyRef": {"name": "none", "key": "k"}}, 'secret "none" not found'),
        ({"secretKeyRef": {"name": "creds", "key": "k"}}, "couldn't find key k in secret ns/creds"),
        ({"configMapKeyRef": {"name": "none", "key": "k"}}, 'configmap "none" not found'),
        ({"fieldRef": {"fieldPath": "spec.hostname"}}, "'spec.hostname' is not supported"),
        ({"resourceFieldRef": {"resource": "limits.hugepages"}}, "'limits.hugepages' is not supported"),
    ],
)
async def test_a_missing_source_is_named(source: Mapping[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationMissing, match=says.replace("(", r"\(")):
        await environment_of({"name": "V", "valueFrom": source})


async def test_an_optional_source_may_be_missing() -> None:
    reference = {"name": "none", "key": "k", "optional": True}
    assert await environment_of({"name": "V", "valueFrom": {"secretKeyRef": reference}}) == {}


async def test_env_overrides_env_from() -> None:
    env_from = [{"prefix": "X_", "secretRef": {"name": "creds"}}, {"configMapRef": {"name": "conf"}}]
    env = await environment_of({"name": "MODE", "value": "slow"}, env_from=env_from)
    assert env == {"X_user": "ann", "X_pass": "s3cret", "MODE": "slow", "key.txt": "text"}


def test_containers_inherit_little_and_find_this_interpreter_first() -> None:
    env = machine_environment({"HOME": "/h", "PATH": "/bin", "KUBECONFIG": "/secret", "AWS_SECRET_ACCESS_KEY": "k"})
    assert env == {"HOME": "/h", "PATH": f"{os.path.dirname(sys.executable)}:/bin", "PYTHONUNBUFFERED": "1"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/etc/creds", "/real/creds"),
        ("/etc/creds/user.txt", "/real/creds/user.txt"),
        ("--file=/etc/creds/user", "--file=/real/creds/user"),
        ("cat /etc/creds/a /etc/creds/b", "cat /real/creds/a /real/creds/b"),
        ("/etc/creds-old/a", "/etc/creds-old/a"),
        ("/opt/etc/creds", "/opt/etc/creds"),
        ("/etc/creds/deep/x", "/real/deep/x"),
        ("/etc", "/etc"),
    ],
)
def test_mount_paths_are_replaced_only_as_whole_prefixes(text: str, expected: str) -> None:
    paths = MountedPaths(Path("/pod"), {"/etc/creds": "/real/creds", "/etc/creds/deep": "/real/deep"})
    assert paths.rewrite(text) == expected


async def test_volumes_become_files_that_command_and_environment_point_to(tmp_path: Path) -> None:
    volumes = [
        {"name": "s", "secret": {"secretName": "creds", "defaultMode": 0o400}},
        {"name": "c", "configMap": {"name": "conf", "items": [{"key": "key.txt", "path": "sub/key"}]}},
        {"name": "d", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
        {
            "name": "p",
            "projected": {"sources": [{"secret": {"name": "creds"}}, {"serviceAccountToken": {"path": "t"}}]},
        },
        {"name": "e", "emptyDir": {}},
    ]
    mounts = [{"name": volume["name"], "mountPath": f"/mnt/{volume['name']}"} for volume in volumes]
    container = {
        "command": ["cat", "/mnt/s/user"], "args": ["$(DIR)/key"], "env": [{"name": "DIR", "value": "/mnt/c/sub"}],
        "volumeMounts": mounts, "workingDir": "/mnt/e",
    }  # fmt: skip
    pod = pod_of(container, volumes=volumes)
    await materialise(tmp_path, pod, STORED)
    run = await invocation(pod, pod.containers[0], STORED, mounted_paths(tmp_path, pod, pod.containers[0]))
    base = tmp_path / "volumes"
    assert run.arguments == ("cat", f"{base}/s/user", f"{base}/c/sub/key")
    assert run.env["DIR"] == f"{base}/c/sub"
    assert run.env["PROTOQUEUE_POD_ROOT"] == str(tmp_path)
    assert run.working_dir == f"{base}/e"
    assert (base / "s/user").read_bytes() == b"ann"
    assert (base / "s/user").stat().st_mode & 0o777 == 0o400
    assert (base / "c/sub/key").read_bytes() == b"text"
    assert (base / "d/labels").read_text() == 'app="web"'
    assert sorted(path.name for path in (base / "p").iterdir()) == ["pass", "user"]


async def test_a_mounted_secret_follows_its_source_and_unchanged_files_stay_untouched(tmp_path: Path) -> None:
    pod = pod_of({}, volumes=[{"name": "s", "secret": {"secretName": "creds"}}])
    await materialise(tmp_path, pod, Stored({"creds": {"changes": b"old", "stays": b"same"}}))
    stays = tmp_path / "volumes/s/stays"
    inode = stays.stat().st_ino
    await materialise(tmp_path, pod, Stored({"creds": {"changes": b"new", "stays": b"same"}}))
    assert (tmp_path / "volumes/s/changes").read_bytes() == b"new"
    assert stays.stat().st_ino == inode
    assert sorted(path.name for path in stays.parent.iterdir()) == ["changes", "stays"]


@pytest.mark.parametrize(
    ("volume", "says"),
    [
        ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
        ({"configMap": {"name": "conf", "items": [{"key": "k", "path": "k"}]}}, "has no key 'k'"),
        ({"persistentVolumeClaim": {"claimName": "c"}}, "persistentVolumeClaim is not supported"),
    ],
)
async def test_a_volume_that_cannot_be_filled_says_why(tmp_path: Path, volume: Mapping[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationMissing, match=says):
        await materialise(tmp_path, pod_of({}, volumes=[{"name": "v", **volume}]), STORED)


@pytest.mark.parametrize(
    ("text", "value"), [("250m", 0.25), ("2", 2), ("1Ki", 1024), ("1k", 1000), ("1.5Gi", 1.5 * 2**30)]
)
def test_quantities_are_numbers(text: str, value: float) -> None:
    assert quantity(text) == value
