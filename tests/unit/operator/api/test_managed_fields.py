"""What of an apply configuration its manager still holds, by managed fields as a real API server writes them."""

import json
from typing import Any

import pytest

from protoqueue_operator.api.v1alpha1.managed_fields import applied_fields, holds_all, last_writer, lost_fields

CONFIGURATION: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "mailers",
        "namespace": "default",
        "labels": {"team": "mail"},
        "annotations": {},
        "finalizers": ["a"],
        "ownerReferences": [{"uid": "u", "name": "mailers", "kind": "ConsumerGroup"}],
    },
    "spec": {
        "selector": {"matchLabels": {"app": "mailers"}},
        "template": {
            "spec": {
                "nodeSelector": None,
                "containers": [
                    {
                        "name": "worker",
                        "command": ["worker", "tasks:worker"],
                        "ports": [{"containerPort": 80}],
                        "securityContext": {"runAsUser": 0},
                        "env": [{"name": "A", "value": ""}],
                    }
                ],
                "volumes": [{"name": "scratch", "emptyDir": {}}],
            }
        },
    },
}
WORKER = 'k:{"name":"worker"}'


def held() -> dict[str, Any]:
    container = {
        ".": {},
        "f:name": {},
        "f:command": {},
        "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
        "f:securityContext": {"f:runAsUser": {}},
        "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}},
    }
    return {
        "f:metadata": {
            "f:labels": {"f:team": {}},
            "f:finalizers": {'v:"a"': {}},
            "f:ownerReferences": {'k:{"uid":"u"}': {}},
        },
        "f:spec": {
            "f:selector": {},
            "f:template": {
                "f:spec": {
                    "f:containers": {WORKER: container},
                    "f:volumes": {'k:{"name":"scratch"}': {".": {}, "f:emptyDir": {}, "f:name": {}}},
                }
            },
        },
    }


def metadata(fields: object, **entry: str) -> dict[str, Any]:
    return {"managedFields": [{"manager": "us", "operation": "Apply", "fieldsV1": fields, **entry}]}


def without(fields: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """Nothing is left of a field of which somebody else has taken all."""
    first, *rest = path
    below = without(fields[first], rest) if rest else {}
    others = {name: node for name, node in fields.items() if name != first}
    return {**others, first: below} if below else others


def is_whole(fields: object) -> bool:
    return holds_all(applied_fields(metadata(fields), "us"), CONFIGURATION)


def test_what_was_applied_and_left_alone_is_held() -> None:
    assert is_whole(held())


POD = "f:spec/f:template/f:spec"
CONTAINER = f"{POD}/f:containers/{WORKER}"


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("f:metadata/f:labels/f:team", "metadata.labels"),
        ('f:metadata/f:finalizers/v:"a"', "metadata.finalizers"),
        ('f:metadata/f:ownerReferences/k:{"uid":"u"}', "metadata.ownerReferences"),
        ("f:spec/f:selector", "spec.selector"),
        (CONTAINER, "spec.template.spec.containers"),
        (f"{CONTAINER}/f:command", "spec.template.spec.containers[worker].command"),
        (
            f"{CONTAINER}/f:securityContext/f:runAsUser",
            "spec.template.spec.containers[worker].securityContext",
        ),
        (
            f'{CONTAINER}/f:ports/k:{{"containerPort":80,"protocol":"TCP"}}',
            "spec.template.spec.containers[worker].ports",
        ),
        (f'{CONTAINER}/f:env/k:{{"name":"A"}}/f:value', "spec.template.spec.containers[worker].env[A].value"),
        (f'{POD}/f:volumes/k:{{"name":"scratch"}}', "spec.template.spec.volumes"),
    ],
)
def test_a_field_that_somebody_else_has_changed_or_removed_is_not_held_and_is_named(path: str, named: str) -> None:
    fields = without(held(), path.split("/"))
    assert not is_whole(fields)
    assert list(lost_fields(applied_fields(metadata(fields), "us"), CONFIGURATION)) == [named]


def test_of_a_list_of_which_something_is_left_what_is_lost_is_named() -> None:
    fields = held()
    fields["f:metadata"]["f:finalizers"] = {'v:"b"': {}}
    pod = fields["f:spec"]["f:template"]["f:spec"]
    pod["f:volumes"] = {'k:{"name":"another"}': {}}
    pod["f:containers"][WORKER]["f:ports"] = {'k:{"containerPort":81,"protocol":"TCP"}': {}}
    assert list(lost_fields(applied_fields(metadata(fields), "us"), CONFIGURATION)) == [
        "metadata.finalizers[a]",
        "spec.template.spec.containers[worker].ports[80]",
        "spec.template.spec.volumes[scratch]",
    ]


def test_without_managed_fields_nothing_is_held() -> None:
    assert not is_whole({})
    assert not holds_all(applied_fields({}, "us"), CONFIGURATION)


@pytest.mark.parametrize("entry", [{"manager": "kubectl"}, {"operation": "Update"}, {"subresource": "status"}])
def test_only_what_the_manager_applied_counts(entry: dict[str, str]) -> None:
    assert applied_fields(metadata(held(), **entry), "us") == "{}"
    assert json.loads(applied_fields(metadata(held()), "us")) == held()


def test_who_wrote_a_field_last_is_read_from_the_managed_fields() -> None:
    held = {"f:spec": {"f:replicas": {}}}
    entries = [
        {"manager": "kubectl", "time": "2026-01-02T00:00:00Z", "fieldsV1": held},
        {"manager": "helm", "time": "2026-01-01T00:00:00Z", "fieldsV1": held},
        {"manager": "later", "time": "2026-01-03T00:00:00Z", "fieldsV1": {"f:spec": {"f:template": {}}}},
    ]
    assert last_writer({"managedFields": entries}, "spec", "replicas") == "kubectl"
    assert last_writer({"managedFields": entries[2:]}, "spec", "replicas") is None
    assert last_writer({}, "spec", "replicas") is None
