"""The chart as the real helm renders it."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "protoqueue"
HELM = Path(sys.executable).with_name("helm")

KUBERNETES_VERSIONS = ("1.29", "1.37")
"""The oldest the chart admits and the newest there is."""

Values = Mapping[str, Any]
Object = dict[str, Any]

MATRIX: dict[str, Values] = {
    "defaults": {},
    "one operator": {"replicas": 1},
    "two namespaces": {"namespaces": ["orders", "mail"]},
    "no rights": {"rbac": {"create": False}, "serviceAccount": {"create": False, "name": "mine"}},
    "secrets": {"rbac": {"connectionSecrets": True}},
    "three servers, every write synced": {"nats": {"bundled": {"replicas": 3, "syncInterval": "always"}}},
    "one server with a password": {"nats": {"bundled": {"authSecret": "door"}}},
    "three servers with a password and TLS": {
        "nats": {"bundled": {"replicas": 3, "authSecret": "door", "tlsSecret": "certificate"}}
    },
    "own server": {"nats": {"bundled": {"enabled": False}, "url": "tls://a:4222,tls://b:4222"}},
    "own server and authority": {
        "nats": {"bundled": {"enabled": False}, "url": "tls://a:4222", "tls": {"caSecret": "authority"}}
    },
    "connection secret": {"nats": {"bundled": {"enabled": False}, "existingSecret": "nats-account"}},
    "definitions elsewhere": {"crds": {"install": False}},
    "definitions go with the release": {"crds": {"keep": False}},
    "monitored": {
        "metrics": {
            "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "rules": {
                "enabled": True,
                "labels": {"release": "prometheus"},
                "alertLabels": {"team": "platform"},
                "runbookUrl": "https://runbooks.example/",
            },
            "dashboard": {"enabled": True, "annotations": {"grafana_folder": "Queues"}},
        }
    },
    "closed": {
        "networkPolicy": {
            "enabled": True,
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "natsFrom": [{"namespaceSelector": {"matchLabels": {"queues": "yes"}}}],
        },
        "nats": {"bundled": {"replicas": 3}},
    },
    "egress to a list": {
        "networkPolicy": {
            "enabled": True,
            "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}], "ports": [{"port": 6443, "protocol": "TCP"}]}],
        }
    },
    "closed to nobody in particular": {"networkPolicy": {"enabled": True}},
    "everything scheduled": {
        "commonLabels": {"cost-centre": "42"},
        "imagePullSecrets": [{"name": "registry"}],
        "image": {"digest": f"sha256:{'0' * 64}"},
        "serviceAccount": {"annotations": {"example.com/role": "queues"}},
        "rbac": {"scaleTargets": [{"apiGroup": "argoproj.io", "resource": "rollouts"}]},
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
        ],
        "podDisruptionBudget": {"maxUnavailable": "50%"},
        "priorityClassName": "system-cluster-critical",
        "extraEnv": [{"name": "A", "value": "b"}],
        "extraArgs": ["--dev"],
        "runAsUser": None,
        "nats": {
            "workerUrl": "nats://elsewhere:4222",
            "bundled": {
                "storage": {"className": "fast"},
                "nodeSelector": {"disk": "ssd"},
                "tolerations": [{"key": "dedicated", "operator": "Exists"}],
                "affinity": {"nodeAffinity": {}},
                "podAnnotations": {"a": "b"},
                "podLabels": {"c": "d"},
            },
        },
    },
    "the platform assigns users": {"runAsUser": None},
    "gateway": {"gateway": {"enabled": True}},
    "gateway of two namespaces": {"gateway": {"enabled": True}, "namespaces": ["orders", "mail"]},
    "gateway with everything": {
        "imagePullSecrets": [{"name": "registry"}],
        "networkPolicy": {
            "enabled": True,
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "natsFrom": [{"namespaceSelector": {"matchLabels": {"queues": "yes"}}}],
            "gatewayFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}],
        },
        "metrics": {"serviceMonitor": {"enabled": True}},
        "nats": {"bundled": {"authSecret": "door"}},
        "gateway": {
            "enabled": True,
            "corsOrigins": ["https://a.example.org", "https://b.example.org"],
            "service": {"type": "LoadBalancer", "port": 443, "annotations": {"a": "b"}},
            "ingress": {
                "enabled": True,
                "className": "nginx",
                "annotations": {"nginx.ingress.kubernetes.io/proxy-read-timeout": "90"},
                "hosts": ["queues.example.org"],
                "tls": [{"secretName": "certificate", "hosts": ["queues.example.org"]}],
            },
            "autoscaling": {"enabled": True},
            "serviceAccount": {"annotations": {"a": "b"}},
            "image": {"digest": f"sha256:{'0' * 64}"},
            "podAnnotations": {"a": "b"},
            "podLabels": {"c": "d"},
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"key": "dedicated", "operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "priorityClassName": "system-cluster-critical",
            "extraEnv": [{"name": "A", "value": "b"}],
        },
    },
    "long names": {"fullnameOverride": "a-name-as-long-as-a-label-may-be-and-then-a-little-longer-still"},
}
"""Values that together make every template render, and every branch of it."""


def provide_helm() -> None:
    """A virtual environment that has no helm yet gets it once."""
    if not HELM.exists():
        subprocess.run([sys.executable, str(ROOT / "hack" / "unpack_helm.py")], check=True, timeout=300)


def helm(*arguments: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(HELM), *arguments], input=stdin, check=check, capture_output=True, text=True, timeout=100
    )


def render(values: Values, release: str = "pq", namespace: str = "queues", version: str = "") -> list[Object]:
    """Every object of the release, the hooks of `helm test` too; `version` is that of Kubernetes."""
    return list(_render(json.dumps(values), release, namespace, version))


@cache
def _render(values: str, release: str, namespace: str, version: str) -> tuple[Object, ...]:
    options = ["--namespace", namespace, "--values", "-", *(["--kube-version", version] if version else [])]
    done = helm("template", release, str(CHART), *options, stdin=values, check=False)
    assert done.returncode == 0, done.stderr
    return tuple(each for each in yaml.load_all(done.stdout, yaml.CSafeLoader) if each)


def only(objects: list[Object], kind: str, name: str | None = None) -> Object:
    (found,) = (each for each in objects if each["kind"] == kind and name in (None, each["metadata"]["name"]))
    return found


def pod_specs(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Every pod of the release, by what makes it."""
    for each in objects:
        if each["kind"] == "Pod":
            yield f"Pod {each['metadata']['name']}", each["spec"]
        elif each["kind"] in ("Deployment", "StatefulSet"):
            yield f"{each['kind']} {each['metadata']['name']}", each["spec"]["template"]["spec"]
