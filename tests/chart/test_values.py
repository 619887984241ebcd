"""values.yaml, values.schema.json and README.md speak of the same values, and nonsense is refused."""

import importlib.util
import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import yaml

from chart.rendering import CHART, ROOT, Values, helm

TEXT = (CHART / "values.yaml").read_text()
VALUES = yaml.safe_load(TEXT)
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


@pytest.fixture(scope="module")
def chart_readme() -> ModuleType:
    spec = importlib.util.spec_from_file_location("chart_readme", ROOT / "hack" / "chart_readme.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_tells_the_values_of_today(chart_readme: ModuleType) -> None:
    readme = (CHART / "README.md").read_text()
    assert chart_readme.render(readme, TEXT) == readme, "run `make chart`"


def test_every_value_is_explained(chart_readme: ModuleType) -> None:
    documented = {value.path for value in chart_readme.documented_values(TEXT)}
    assert {path for path in leaves(VALUES) if not any(path[:size] in documented for size in range(1, 9))} == set()


def test_the_schema_knows_exactly_the_values_there_are() -> None:
    schema = {path for path in declared(SCHEMA) if path != ("global",)}  # Helm adds it by itself
    values = set(paths(VALUES))
    assert {path for path in values if not known(path, schema)} == set()
    assert {path for path in schema if path not in values and not free_form(path)} == set()


def known(path: tuple[str, ...], schema: set[tuple[str, ...]]) -> bool:
    return path in schema or free_form(path[:-1])


def free_form(path: tuple[str, ...]) -> bool:
    """Whether a value's content is Kubernetes' own, so that its parts are no values of the chart."""
    return bool({"labels", "resources", "affinity", "podLabels"} & set(path))


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    else:
        yield path


def paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield (*path, key)
            yield from paths(each, (*path, key))


def declared(schema: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all properties a schema names, through its references."""
    if "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].removeprefix("#/definitions/")]
    for key, each in schema.get("properties", {}).items():
        yield (*path, key)
        yield from declared(each, (*path, key))


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"replicaCount": 2}, "replicaCount"),
        ({"replicas": "two"}, "replicas"),
        ({"metrics": None}, "missing property 'metrics'"),
        ({"fullnameOverride": "My_Queues"}, "fullnameOverride"),
        ({"podLabels": {"app.kubernetes.io/name": "mine"}}, "podLabels"),
        ({"commonLabels": {"app.kubernetes.io/component": "mine"}}, "commonLabels"),
        ({"namespaces": ["Not_A_Label"]}, "namespaces"),
        ({"runAsUser": 0}, "runAsUser"),
        ({"metrics": {"port": 80}}, "port"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"nats": {"bundled": {"replicas": 2}}}, "replicas"),
        ({"nats": {"bundled": {"syncInterval": "sometimes"}}}, "syncInterval"),
        ({"nats": {"bundled": {"storage": {"size": "10G"}}}}, "size"),
        ({"nats": {"url": "nats://user:password@nats:4222", "bundled": {"enabled": False}}}, "url"),
        ({"nats": {"url": "nats:4222", "bundled": {"enabled": False}}}, "url"),
        ({"nats": {"url": "nats://nats:4222"}}, "set nats.bundled.enabled to false"),
        ({"nats": {"bundled": {"enabled": False}}}, "no NATS: set nats.url"),
        ({"nats": {"tls": {"caSecret": "authority"}}}, "the bundled one takes nats.bundled.tlsSecret"),
        ({"nats": {"bundled": {"replicas": 3, "authSecret": "door"}}}, "strangers from joining three servers"),
        (
            {"nats": {"bundled": {"enabled": False}, "existingSecret": "a", "tls": {"caSecret": "b"}}},
            "leave nats.tls.caSecret empty",
        ),
        ({"serviceAccount": {"create": False}}, "serviceAccount.name is needed"),
        ({"gateway": {"enabled": True, "ingress": {"enabled": True}}}, "gateway.ingress.hosts is empty"),
        ({"gateway": {"enabled": True, "httpRoute": {"enabled": True}}}, "gateway.httpRoute.parentRefs is empty"),
        (
            {"gateway": {"enabled": True, "autoscaling": {"enabled": True, "minReplicas": 9, "maxReplicas": 3}}},
            "minReplicas is more than maxReplicas",
        ),
        ({"gateway": {"corsOrigins": ["app.example.org"]}}, "corsOrigins"),
        ({"gateway": {"defaultVisibilityTimeout": "soon"}}, "defaultVisibilityTimeout"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_values_that_cannot_work_are_refused_with_a_reason(values: Values, complaint: str) -> None:
    done = helm("template", "pq", str(CHART), "--values", "-", stdin=json.dumps(values), check=False)
    assert done.returncode != 0
    assert complaint in done.stderr
