"""The gateway in the chart."""

from chart.rbac import permissions
from chart.rendering import MATRIX, Values, only, render
from protoqueue_gateway.settings import read_settings

ON: Values = {"gateway": {"enabled": True}}
NAME = "pq-protoqueue-gateway"


def environment(values: Values) -> dict[str, str]:
    (container,) = only(render(values), "Deployment", NAME)["spec"]["template"]["spec"]["containers"]
    return {each["name"]: each.get("value", "") for each in container["env"]}


def test_it_is_off_unless_asked_for() -> None:
    assert not [each for each in render({}) if "gateway" in each["metadata"]["name"]]


def test_the_values_become_what_the_gateway_reads() -> None:
    settings = read_settings(
        environment(
            {
                "gateway": {
                    "enabled": True,
                    "port": 9090,
                    "logLevel": "debug",
                    "defaultNamespace": "shop",
                    "defaultVisibilityTimeout": "2m",
                    "defaultMaxRetries": 7,
                    "maxBatchSize": 500,
                    "maxBodySize": 16777216,
                    "requestsPerSecondPerKey": 50,
                    "maxLongPollsPerKey": 10,
                    "corsOrigins": ["https://a.example.org", "https://b.example.org"],
                }
            }
        )
    )
    assert settings.nats_url == "nats://pq-protoqueue-nats.queues.svc:4222"
    assert (settings.port, settings.log_level, settings.default_namespace) == (9090, "debug", "shop")
    assert (settings.default_visibility_timeout, settings.default_max_retries) == ("2m", 7)
    assert (settings.max_batch_size, settings.max_body_size) == (500, 16777216)
    assert (settings.requests_per_second_per_key, settings.max_long_polls_per_key) == (50, 10)
    assert settings.cors_origins == ("https://a.example.org", "https://b.example.org")


def test_the_defaults_are_those_of_the_gateway() -> None:
    told, own = read_settings(environment(ON)), read_settings({"NATS_URL": "nats://nats:4222"})
    for name in ("port", "log_level", "default_namespace", "default_visibility_timeout", "default_max_retries"):
        assert getattr(told, name) == getattr(own, name), name
    for name in ("max_batch_size", "max_body_size", "requests_per_second_per_key", "max_long_polls_per_key"):
        assert getattr(told, name) == getattr(own, name), name


def test_its_role_reaches_queues_groups_and_its_own_secrets_alone() -> None:
    held = set(permissions(render(ON), NAME, "queues"))
    queues = {each for each in held if each.group == "protoqueue.dev"}
    assert {each.resource for each in queues} == {"queues", "consumergroups", "redrives"}
    events = {each for each in held if each.resource == "events"}
    assert {each.verb for each in events} == {"list"}
    secrets = held - queues - events
    assert {(each.resource, each.namespace) for each in secrets} == {("secrets", "queues")}
    assert {each.verb for each in secrets if not each.names} == {"list"}
    assert {each.verb for each in secrets if each.names == {f"{NAME}-receipts"}} == {"get", "patch"}
    assert environment(ON)["RECEIPT_SECRET"] == f"{NAME}-receipts"


def test_in_named_namespaces_it_has_rights_there_alone() -> None:
    held = permissions(render(MATRIX["gateway of two namespaces"]), NAME, "queues")
    assert {each.namespace for each in held if each.group == "protoqueue.dev"} == {"orders", "mail"}
    assert read_settings(environment(MATRIX["gateway of two namespaces"])).namespaces == ("orders", "mail")


def test_the_secret_of_receipts_has_no_content_that_an_upgrade_would_put_back() -> None:
    secret = only(render(ON), "Secret", f"{NAME}-receipts")
    assert "data" not in secret
    assert "stringData" not in secret


def test_an_autoscaler_sizes_it_instead_of_a_number() -> None:
    objects = render(MATRIX["gateway with everything"])
    assert "replicas" not in only(objects, "Deployment", NAME)["spec"]
    scaler = only(objects, "HorizontalPodAutoscaler")["spec"]
    assert scaler["scaleTargetRef"]["name"] == NAME
    assert only(render(ON), "Deployment", NAME)["spec"]["replicas"] == 2


def test_one_gateway_pod_has_no_disruption_budget() -> None:
    def budgets(values: Values) -> list[str]:
        return [each["metadata"]["name"] for each in render(values) if each["kind"] == "PodDisruptionBudget"]

    assert NAME in budgets(ON)
    assert NAME not in budgets({"gateway": {"enabled": True, "replicas": 1}})


def test_a_closed_release_lets_the_gateway_to_its_nats_and_only_who_is_named_to_the_gateway() -> None:
    values = MATRIX["gateway with everything"]
    objects = render(values)
    labels = only(objects, "Deployment", NAME)["spec"]["template"]["metadata"]["labels"]
    nats = only(objects, "NetworkPolicy", "pq-protoqueue-nats")["spec"]["ingress"][0]["from"]
    let_in = [each["podSelector"]["matchLabels"] for each in nats if "podSelector" in each]
    assert [each for each in let_in if each.items() <= labels.items()]
    (rule,) = only(objects, "NetworkPolicy", NAME)["spec"]["ingress"]
    closed = values["networkPolicy"]
    assert rule["from"] == [*closed["gatewayFrom"], *closed["metricsFrom"]]


def test_an_httproute_leads_to_its_service() -> None:
    route = {"enabled": True, "parentRefs": [{"name": "public", "namespace": "edge"}], "hostnames": ["q.example.org"]}
    objects = render({"gateway": {"enabled": True, "httpRoute": route}})
    (port,) = only(objects, "Service", NAME)["spec"]["ports"]
    made = only(objects, "HTTPRoute")
    assert made["apiVersion"] == "gateway.networking.k8s.io/v1"
    assert made["spec"] == {
        "parentRefs": [{"name": "public", "namespace": "edge"}],
        "hostnames": ["q.example.org"],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                "backendRefs": [{"name": NAME, "port": port["port"]}],
            }
        ],
    }


def test_an_ingress_leads_to_its_service() -> None:
    objects = render(MATRIX["gateway with everything"])
    (port,) = only(objects, "Service", NAME)["spec"]["ports"]
    (rule,) = only(objects, "Ingress")["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path["backend"]["service"] == {"name": NAME, "port": {"name": port["name"]}}
