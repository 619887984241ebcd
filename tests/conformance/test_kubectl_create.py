"""What `kubectl create` makes of its arguments: it sends protobuf, and nothing else."""

import json

import pytest

from conformance.kubectl import Kubectl


async def test_imperative_commands_create_typed_objects(kubectl: Kubectl) -> None:
    await kubectl("create", "configmap", "m", "--from-literal=a=b")
    await kubectl("create", "secret", "generic", "s", "--from-literal=user=u")
    await kubectl("create", "serviceaccount", "a")
    assert json.loads(await kubectl("get", "configmap", "m", "-o", "json"))["data"] == {"a": "b"}
    assert json.loads(await kubectl("get", "secret", "s", "-o", "json"))["data"] == {"user": "dQ=="}
    assert json.loads(await kubectl("get", "serviceaccount", "a", "-o", "json"))["metadata"]["name"] == "a"


@pytest.mark.parametrize(
    ("command", "what", "where", "value"),
    [
        (
            ("deployment", "web", "--image=x", "--replicas=0", "--port=80"),
            "deployment/web",
            "{.spec.replicas} {.spec.template.spec.containers[0].ports[0].containerPort}",
            "0 80",
        ),
        (
            ("job", "once", "--image=x", "--", "sh", "-c", "true"),
            "job/once",
            "{.spec.template.spec.containers[0].command}",
            '["sh","-c","true"]',
        ),
        (
            ("cronjob", "nightly", "--image=x", "--schedule=0 3 * * *"),
            "cronjob/nightly",
            "{.spec.schedule}",
            "0 3 * * *",
        ),
        (
            ("service", "clusterip", "web", "--tcp=80:8080"),
            "service/web",
            "{.spec.ports[0].port} {.spec.ports[0].targetPort}",
            "80 8080",
        ),
        (
            ("role", "reader", "--verb=get,list", "--resource=pods"),
            "role/reader",
            "{.rules[0].verbs} {.rules[0].resources}",
            '["get","list"] ["pods"]',
        ),
        (
            ("rolebinding", "readers", "--role=reader", "--serviceaccount=default:ann"),
            "rolebinding/readers",
            "{.roleRef.name} {.subjects[0].kind} {.subjects[0].name}",
            "reader ServiceAccount ann",
        ),
    ],
)
async def test_imperative_commands_create_workloads_and_roles(
    kubectl: Kubectl, command: tuple[str, ...], what: str, where: str, value: str
) -> None:
    assert "created" in await kubectl("create", *command)
    assert await kubectl("get", what, "-o", f"jsonpath={where}") == value
