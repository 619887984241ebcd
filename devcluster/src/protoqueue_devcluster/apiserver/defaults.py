"""What the API fills into built-in objects that do not say: pure, per resource, as in the Kubernetes sources."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

Object = dict[str, Any]
Default = Callable[[Object], Object]

POD_SPEC = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "securityContext": {},
    "schedulerName": "default-scheduler",
}
PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


def with_spec(obj: Object, spec: Object) -> Object:
    return {**obj, "spec": spec}


def _container(container: Object) -> Object:
    image = str(container.get("image", ""))
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    pull = "Always" if tag in {"", "latest"} and "@" not in image else "IfNotPresent"
    filled = {
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": pull,
        **container,
    }
    if "ports" in filled:
        filled["ports"] = [{"protocol": "TCP", **port} for port in filled["ports"]]
    if "env" in filled:
        filled["env"] = [_variable(each) for each in filled["env"]]
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in filled:
            filled[probe] = _probe(filled[probe])
    return filled


def _with_requests(container: Object) -> Object:
    """In a pod, but not in a template, what is limited is also requested."""
    limits, requests = (container.get("resources", {}).get(name, {}) for name in ("limits", "requests"))
    if not limits:
        return container
    return {**container, "resources": {**container["resources"], "requests": {**limits, **requests}}}


def _variable(variable: Object) -> Object:
    reference = variable.get("valueFrom", {}).get("fieldRef")
    if reference is None or "apiVersion" in reference:
        return variable
    return {**variable, "valueFrom": {**variable["valueFrom"], "fieldRef": {"apiVersion": "v1", **reference}}}


def _probe(probe: Object) -> Object:
    filled = {**PROBE, **probe}
    if "httpGet" in filled:
        filled["httpGet"] = {"path": "/", "scheme": "HTTP", **filled["httpGet"]}
    return filled


def _volume(volume: Object) -> Object:
    for source in ("secret", "configMap", "projected", "downwardAPI"):
        if source in volume:
            return {**volume, source: {"defaultMode": 420, **volume[source]}}
    if "hostPath" in volume:
        return {**volume, "hostPath": {"type": "", **volume["hostPath"]}}
    return {**volume, "emptyDir": {}} if set(volume) == {"name"} else volume


def pod_spec(spec: Object) -> Object:
    """What pods and pod templates alike get."""
    filled = {**POD_SPEC, **spec}
    for containers in ("containers", "initContainers"):
        if containers in filled:
            filled[containers] = [_container(each) for each in filled[containers]]
    if "volumes" in filled:
        filled["volumes"] = [_volume(each) for each in filled["volumes"]]
    if "serviceAccountName" in filled:
        filled.setdefault("serviceAccount", filled["serviceAccountName"])
    return filled


def _pod(obj: Object) -> Object:
    spec = {"enableServiceLinks": True, **obj.get("spec", {})}
    filled = pod_spec(spec)
    for containers in ("containers", "initContainers"):
        if containers in filled:
            filled[containers] = [_with_requests(each) for each in filled[containers]]
    return with_spec(obj, filled)


def _template(spec: Object) -> Object:
    template = spec.get("template", {})
    return {"metadata": {}, **template, "spec": pod_spec(template.get("spec", {}))}


def _deployment(obj: Object) -> Object:
    spec = {"replicas": 1, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600, **obj.get("spec", {})}
    strategy = {"type": "RollingUpdate", **spec.get("strategy", {})}
    if strategy["type"] == "RollingUpdate":
        rolling = {"maxUnavailable": "25%", "maxSurge": "25%", **strategy.get("rollingUpdate", {})}
        strategy["rollingUpdate"] = rolling
    return with_spec(obj, {**spec, "strategy": strategy, "template": _template(spec)})


def _replica_set(obj: Object) -> Object:
    spec = {"replicas": 1, **obj.get("spec", {})}
    return with_spec(obj, {**spec, "template": _template(spec)} if "template" in spec else spec)


def _stateful_set(obj: Object) -> Object:
    spec = {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "podManagementPolicy": "OrderedReady",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        **obj.get("spec", {}),
    }
    return with_spec(obj, {**spec, "template": _template(spec)})


def _daemon_set(obj: Object) -> Object:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}
    spec = {"revisionHistoryLimit": 10, "updateStrategy": rolling, **obj.get("spec", {})}
    return with_spec(obj, {**spec, "template": _template(spec)})


def _job(obj: Object) -> Object:
    spec = {"backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False, **obj.get("spec", {})}
    if "completions" not in spec and "parallelism" not in spec:
        spec |= {"completions": 1, "parallelism": 1}
    spec.setdefault("parallelism", 1)
    return with_spec(obj, {**spec, "template": _template(spec)})


def _cron_job(obj: Object) -> Object:
    limits = {"successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1}
    return with_spec(obj, {"concurrencyPolicy": "Allow", "suspend": False, **limits, **obj.get("spec", {})})


def _service(obj: Object) -> Object:
    spec = {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster", **obj.get("spec", {})}
    if "ports" in spec:
        spec["ports"] = [{"protocol": "TCP", "targetPort": port.get("port"), **port} for port in spec["ports"]]
    return with_spec(obj, spec)


def _namespace(obj: Object) -> Object:
    metadata = obj["metadata"]
    labels = {"kubernetes.io/metadata.name": metadata.get("name", ""), **(metadata.get("labels") or {})}
    return {**obj, "metadata": {**metadata, "labels": labels}}


def _secret(obj: Object) -> Object:
    filled = {"type": "Opaque", **obj}
    plain = filled.pop("stringData", None)
    if plain:
        encoded = {name: base64.b64encode(str(text).encode()).decode() for name, text in plain.items()}
        filled["data"] = {**(filled.get("data") or {}), **encoded}
    return filled


def _event(obj: Object) -> Object:
    return {"source": {}, "eventTime": None, "reportingComponent": "", "reportingInstance": "", **obj}


def _role_binding(obj: Object) -> Object:
    group = "rbac.authorization.k8s.io"
    reference = {"apiGroup": group, **obj.get("roleRef", {})}
    subjects = [
        each if each.get("kind") == "ServiceAccount" else {"apiGroup": group, **each}
        for each in obj.get("subjects", [])
    ]
    filled = {**obj, "roleRef": reference}
    return {**filled, "subjects": subjects} if subjects else filled


def _definition(obj: Object) -> Object:
    spec = {"conversion": {"strategy": "None"}, **obj.get("spec", {})}
    names = spec.get("names", {})
    kind = str(names.get("kind", ""))
    spec["names"] = {"singular": kind.lower(), "listKind": f"{kind}List", **names}
    return with_spec(obj, spec)


BUILT_IN: Mapping[tuple[str, str], Default] = {
    ("", "pods"): _pod,
    ("", "namespaces"): _namespace,
    ("", "secrets"): _secret,
    ("", "services"): _service,
    ("", "events"): _event,
    ("apps", "deployments"): _deployment,
    ("apps", "replicasets"): _replica_set,
    ("apps", "statefulsets"): _stateful_set,
    ("apps", "daemonsets"): _daemon_set,
    ("batch", "jobs"): _job,
    ("batch", "cronjobs"): _cron_job,
    ("rbac.authorization.k8s.io", "rolebindings"): _role_binding,
    ("rbac.authorization.k8s.io", "clusterrolebindings"): _role_binding,
    ("apiextensions.k8s.io", "customresourcedefinitions"): _definition,
}
