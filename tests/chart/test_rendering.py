import json
from functools import cache

import kubernetes_validate
import pytest
import yaml

from chart.pod_security import violations
from chart.rendering import CHART, KUBERNETES_VERSIONS, MATRIX, Values, helm, only, pod_specs, render
from custom_kinds import is_known, stored

CLUSTER_WIDE = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
}

every_combination = pytest.mark.parametrize("values", MATRIX.values(), ids=MATRIX.keys())


@pytest.mark.parametrize("name", ["defaults", "three servers, every write synced", "monitored", "closed"])
def test_helm_lint_finds_nothing(name: str) -> None:
    done = helm("lint", "--strict", str(CHART), "--values", "-", stdin=json.dumps(MATRIX[name]), check=False)
    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


@every_combination
@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
def test_kubernetes_knows_every_field_that_is_rendered(values: Values, version: str) -> None:
    for each in render(values, version=version):
        if is_known(each):
            stored(each)
        else:
            validate(json.dumps(each, sort_keys=True), version)


def test_a_field_that_the_prometheus_operator_does_not_know_is_found() -> None:
    monitor = only(render(MATRIX["monitored"]), "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    with pytest.raises(AssertionError, match="scrape_timeout"):
        stored({**monitor, "spec": {**monitor["spec"], "endpoints": [{**endpoint, "scrape_timeout": "1s"}]}})
    with pytest.raises(AssertionError, match="interval"):
        stored({**monitor, "spec": {**monitor["spec"], "endpoints": [{**endpoint, "interval": "often"}]}})


@cache
def validate(text: str, version: str) -> None:
    kubernetes_validate.validate(json.loads(text), version, strict=True)


@every_combination
def test_no_object_is_rendered_twice(values: Values) -> None:
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in render(values)]
    assert len(names) == len(set(names))


def test_a_long_name_leaves_room_for_what_kubernetes_adds_to_it() -> None:
    objects = render(MATRIX["long names"])
    assert len(only(objects, "StatefulSet")["metadata"]["name"]) <= 52
    named = [each for each in objects if not each["kind"].startswith("ValidatingAdmissionPolicy")]  # may have 253
    assert {each["metadata"]["name"] for each in named if len(each["metadata"]["name"]) > 63} == set()


@every_combination
def test_every_namespaced_object_says_its_namespace_and_whose_it_is(values: Values) -> None:
    for each in render(values):
        meta = each["metadata"]
        if each["kind"] not in CLUSTER_WIDE:
            assert meta["namespace"], meta
        assert meta["labels"]["app.kubernetes.io/instance"] == "pq"
        assert meta["labels"]["app.kubernetes.io/managed-by"] == "Helm"


@every_combination
def test_every_selector_finds_the_pods_it_is_meant_for(values: Values) -> None:
    objects = render(values)
    pods = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"]
        for each in objects
        if each["kind"] in ("Deployment", "StatefulSet")
    }
    for each in objects:
        if each["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
            spec = each["spec"]
            selector = spec.get("podSelector") or spec["selector"]
            labels = selector.get("matchLabels", selector)
            (found,) = (name for name, having in pods.items() if labels.items() <= having.items())
            assert each["metadata"]["name"].startswith(found)


@every_combination
def test_no_pod_needs_more_than_the_restricted_pod_security_standard(values: Values) -> None:
    for where, spec in pod_specs(render(values)):
        assert not violations(spec), where


@every_combination
def test_every_container_is_bounded_in_memory_and_names_its_command(values: Values) -> None:
    for where, spec in pod_specs(render(values)):
        for container in spec["containers"]:
            assert container["command"], where
            assert container["resources"]["limits"]["memory"], where


def test_an_upgrade_of_the_chart_alone_restarts_no_nats_server() -> None:
    template = only(render({}), "StatefulSet")["spec"]["template"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert f"{chart['name']}-{chart['version']}" not in json.dumps(template)
    assert "app.kubernetes.io/version" not in template["metadata"]["labels"]


def test_a_changed_configuration_restarts_the_nats_servers() -> None:
    before, after = (
        only(render({"nats": {"bundled": {"syncInterval": interval}}}), "StatefulSet") for interval in ("2m", "always")
    )
    assert before["spec"]["template"] != after["spec"]["template"]


@pytest.mark.parametrize(("replicas", "is_told"), [(1, False), (3, True)])
def test_a_nats_server_alone_ends_at_once_and_one_of_three_sends_its_clients_elsewhere_first(
    replicas: int, is_told: bool
) -> None:
    objects = render({"nats": {"bundled": {"replicas": replicas}}})
    (container,) = only(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    assert ("lifecycle" in container) is is_told
    assert ("lame_duck_duration" in only(objects, "ConfigMap", "pq-protoqueue-nats")["data"]["nats.conf"]) is is_told


def test_one_operator_has_no_disruption_budget_that_would_hold_up_a_drain() -> None:
    assert only(render({}), "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert "PodDisruptionBudget" not in [each["kind"] for each in render({"replicas": 1})]


def test_all_operators_of_a_release_contend_for_one_lease_that_its_role_names() -> None:
    objects = render({})
    arguments = only(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"]
    (lease,) = (each.removeprefix("--leader-elect=") for each in arguments if each.startswith("--leader-elect="))
    role = only(objects, "Role", "pq-protoqueue-leader")
    (named,) = (rule["resourceNames"] for rule in role["rules"] if "resourceNames" in rule)
    assert lease == f"{role['metadata']['namespace']}/{named[0]}"


@pytest.mark.parametrize("values", [MATRIX["closed"], MATRIX["closed to nobody in particular"]])
def test_a_closed_operator_is_scraped_by_those_who_are_named_and_by_all_where_nobody_is(values: Values) -> None:
    objects = render(values)
    policy = only(objects, "NetworkPolicy", "pq-protoqueue")["spec"]
    (rule,) = policy["ingress"]
    service = only(objects, "Service", "pq-protoqueue-metrics")["spec"]
    assert [port["port"] for port in rule["ports"]] == [port["targetPort"] for port in service["ports"]]
    assert rule.get("from", []) == values["networkPolicy"].get("metricsFrom", [])
    assert policy["policyTypes"] == ["Ingress"], "NATS and the API server are wherever they are"


def test_an_operator_with_a_list_of_where_to_connects_to_that_and_to_dns_and_the_nats_beside_it() -> None:
    values = MATRIX["egress to a list"]
    policy = only(render(values), "NetworkPolicy", "pq-protoqueue")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    dns, bundled, *named = policy["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    nats = only(render(values), "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert bundled["to"][0]["podSelector"]["matchLabels"].items() <= nats.items()
    assert named == values["networkPolicy"]["egress"]


def test_a_closed_nats_is_monitored_by_nobody_but_its_kubelet() -> None:
    policy = only(render(MATRIX["closed"]), "NetworkPolicy", "pq-protoqueue-nats")["spec"]
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == {"nats", "cluster"}


def test_every_port_a_policy_names_is_one_of_the_pods() -> None:
    objects = render(MATRIX["closed"])
    ports = {
        port["name"] for _, spec in pod_specs(objects) for each in spec["containers"] for port in each.get("ports", [])
    }
    for policy in (each for each in objects if each["kind"] == "NetworkPolicy"):
        assert {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]} <= ports


def test_the_digest_wins_over_the_tag() -> None:
    digest = f"sha256:{'a' * 64}"
    deployment = only(render({"image": {"tag": "1", "digest": digest}}), "Deployment")
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"].endswith(f"operator@{digest}")


def test_each_named_namespace_is_watched() -> None:
    deployment = only(render({"namespaces": ["orders", "mail"]}), "Deployment")
    arguments = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    assert {"--namespace=orders", "--namespace=mail"} <= set(arguments)
