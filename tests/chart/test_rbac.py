import pytest

from chart.rbac import Permission, Request, denied, permissions, unused
from chart.rendering import MATRIX, Values, render

CREATE_QUEUE = Request("create", "protoqueue.dev", "queues", "orders", "email")


@pytest.mark.parametrize(
    ("permission", "allowed"),
    [
        (Permission("create", "protoqueue.dev", "queues"), True),
        (Permission("create", "protoqueue.dev", "queues", "orders"), True),
        (Permission("create", "protoqueue.dev", "queues", "mail"), False),
        (Permission("create", "protoqueue.dev", "queues", "", frozenset({"email"})), True),
        (Permission("create", "protoqueue.dev", "queues", "", frozenset({"other"})), False),
        (Permission("patch", "protoqueue.dev", "queues"), False),
        (Permission("create", "", "queues"), False),
        (Permission("create", "protoqueue.dev", "queues/status"), False),
    ],
)
def test_a_permission_allows_its_verb_on_its_resource_where_it_holds(permission: Permission, allowed: bool) -> None:
    assert permission.allows(CREATE_QUEUE) is allowed
    assert denied([CREATE_QUEUE], [permission]) == (set() if allowed else {CREATE_QUEUE})
    assert unused([CREATE_QUEUE], [permission]) == (set() if allowed else {permission})


def held(values: Values) -> set[Permission]:
    return set(permissions(render(values), "pq-protoqueue", "queues"))


@pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())
def test_nothing_is_granted_wholesale(values: Values) -> None:
    for each in render(values):
        if each["kind"] in ("Role", "ClusterRole"):
            for rule in each["rules"]:
                assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_named_namespaces_are_the_only_ones_it_may_write_to_but_for_its_own_kinds() -> None:
    writing = {"create", "update", "patch", "delete"}
    granted = held({"namespaces": ["orders", "mail"]})
    assert {each.namespace for each in granted if each.verb in writing and each.namespace} == {
        "orders",
        "mail",
        "queues",
    }
    assert {each.resource for each in granted if each.namespace == "queues"} == {"leases"}
    # What a namespace that is deleted takes along last must not take the right to let it go along first.
    assert {(each.verb, each.resource) for each in granted if not each.namespace} == {
        *((verb, kind) for verb in ("list", "watch", "patch") for kind in ("queues", "consumergroups", "redrives")),
        ("get", "namespaces"),
    }


def test_named_namespaces_get_the_rights_that_the_whole_cluster_would() -> None:
    everywhere = {(each.verb, each.group, each.resource) for each in held({})}
    assert {(each.verb, each.group, each.resource) for each in held({"namespaces": ["orders"]})} == everywhere


def test_only_its_own_lease_is_taken() -> None:
    leases = [each for each in held({}) if each.resource == "leases" and each.verb != "create"]
    assert leases
    for each in leases:
        assert each.namespace == "queues"
        assert each.names == {"pq-protoqueue"}


def test_secrets_are_read_where_told_and_one_by_one() -> None:
    assert not [each for each in held({}) if each.resource == "secrets"]
    told = held({"rbac": {"connectionSecrets": True}})
    assert {each.verb for each in told if each.resource == "secrets"} == {"get"}


def test_further_kinds_to_scale_are_scaled_and_nothing_else() -> None:
    more = held({"rbac": {"scaleTargets": [{"apiGroup": "argoproj.io", "resource": "rollouts"}]}}) - held({})
    assert {(each.group, each.resource, each.verb) for each in more} == {
        ("argoproj.io", "rollouts/scale", "get"),
        ("argoproj.io", "rollouts/scale", "patch"),
    }


def test_without_rbac_nothing_is_granted() -> None:
    assert not [each for each in render(MATRIX["no rights"]) if "Role" in each["kind"]]
