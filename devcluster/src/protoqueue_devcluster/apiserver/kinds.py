"""The table of everything the API serves; custom resources join it while it runs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .builtin import OBJECT_META, model_node
from .schema import Node

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
SUBRESOURCE_VERBS = ("get", "patch", "update")


@dataclass(frozen=True)
class ScalePaths:
    """Where a resource keeps what its scale subresource shows, as JSONPaths such as `.spec.replicas`."""

    spec_replicas: str = ".spec.replicas"
    status_replicas: str = ".status.replicas"
    label_selector: str = ""


@dataclass(frozen=True)
class Column:
    """One printer column of a custom resource."""

    name: str
    type: str
    path: str
    description: str = ""
    format: str = ""
    priority: int = 0


@dataclass(frozen=True, eq=False)
class Kind:
    """One resource in one version: its names, its scope, what can be done with it and what it looks like."""

    group: str
    version: str
    kind: str
    plural: str
    schema: Node
    singular: str = ""
    list_kind: str = ""
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    status: bool = False
    scale: ScalePaths | None = None
    other_subresources: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    generation: bool = False
    custom: bool = False
    preferred: bool = True
    storage_version: str = ""
    columns: tuple[Column, ...] = ()
    selectable: tuple[str, ...] = ()
    raw_schema: Mapping[str, Any] = field(default_factory=dict)
    """A custom resource's openAPIV3Schema as written, for publication."""
    ephemeral: bool = False
    """Answered but never stored: access and token reviews."""
    returns_deleted: bool = False
    """Whether a delete answers with the object rather than with a Status."""

    @property
    def group_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def storage_key(self) -> tuple[str, str]:
        return self.group, self.plural

    def has_subresource(self, name: str) -> bool:
        if name == "status":
            return self.status
        if name == "scale":
            return self.scale is not None
        return any(name == each for each, _, _ in self.other_subresources)


def _builtin(group: str, version: str, kind: str, plural: str, model: str = "", **more: Any) -> Kind:
    schema = model_node(model or f"V1{kind}")
    made = Kind(group, version, kind, plural, schema, singular=kind.lower(), list_kind=f"{kind}List")
    return replace(made, **more)


def _cluster(*names: str, **more: Any) -> Kind:
    return _builtin(*names, namespaced=False, **more)


SCALE = ScalePaths()
RBAC = "rbac.authorization.k8s.io"
REVIEW: Mapping[str, Any] = {"namespaced": False, "verbs": ("create",), "ephemeral": True}
POD_PARTS = (
    ("binding", "Binding", ("create",)),
    ("eviction", "Eviction", ("create",)),
    ("log", "Pod", ("get",)),
)

BUILT_IN: tuple[Kind, ...] = (
    _cluster(
        "", "v1", "Namespace", "namespaces", short_names=("ns",), status=True,
        verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
        other_subresources=(("finalize", "Namespace", ("update",)),),
    ),
    _builtin(
        "", "v1", "Pod", "pods", short_names=("po",), categories=("all",), status=True, generation=True,
        other_subresources=POD_PARTS, returns_deleted=True,
    ),
    _builtin("", "v1", "PodTemplate", "podtemplates", generation=True),
    _cluster("", "v1", "Node", "nodes", short_names=("no",), status=True),
    _builtin("", "v1", "ConfigMap", "configmaps", short_names=("cm",)),
    _builtin("", "v1", "Secret", "secrets"),
    _builtin(
        "", "v1", "Service", "services", short_names=("svc",), categories=("all",), status=True, returns_deleted=True
    ),
    _builtin("", "v1", "Endpoints", "endpoints", short_names=("ep",), list_kind="EndpointsList"),
    _builtin("", "v1", "ServiceAccount", "serviceaccounts", short_names=("sa",), returns_deleted=True),
    _builtin("", "v1", "Event", "events", "CoreV1Event", short_names=("ev",)),
    _builtin(
        "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", short_names=("pvc",), status=True,
        returns_deleted=True,
    ),
    _cluster("", "v1", "PersistentVolume", "persistentvolumes", short_names=("pv",), status=True),
    _builtin("", "v1", "ResourceQuota", "resourcequotas", short_names=("quota",), status=True),
    _builtin("", "v1", "LimitRange", "limitranges", short_names=("limits",)),
    _builtin(
        "apps", "v1", "Deployment", "deployments", short_names=("deploy",), categories=("all",), status=True,
        scale=SCALE, generation=True,
    ),
    _builtin(
        "apps", "v1", "ReplicaSet", "replicasets", short_names=("rs",), categories=("all",), status=True, scale=SCALE,
        generation=True,
    ),
    _builtin(
        "apps", "v1", "StatefulSet", "statefulsets", short_names=("sts",), categories=("all",), status=True,
        scale=SCALE, generation=True,
    ),
    _builtin(
        "apps", "v1", "DaemonSet", "daemonsets", short_names=("ds",), categories=("all",), status=True, generation=True
    ),
    _builtin("apps", "v1", "ControllerRevision", "controllerrevisions"),
    _builtin("batch", "v1", "Job", "jobs", categories=("all",), status=True, generation=True),
    _builtin(
        "batch", "v1", "CronJob", "cronjobs", short_names=("cj",), categories=("all",), status=True, generation=True
    ),
    _builtin("coordination.k8s.io", "v1", "Lease", "leases"),
    _builtin("events.k8s.io", "v1", "Event", "events", "EventsV1Event", short_names=("ev",)),
    _builtin(RBAC, "v1", "Role", "roles"),
    _builtin(RBAC, "v1", "RoleBinding", "rolebindings"),
    _cluster(RBAC, "v1", "ClusterRole", "clusterroles"),
    _cluster(RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings"),
    _builtin(
        "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", short_names=("pdb",), status=True,
        generation=True,
    ),
    _builtin(
        "networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", short_names=("netpol",), generation=True
    ),
    _builtin(
        "networking.k8s.io", "v1", "Ingress", "ingresses", short_names=("ing",), status=True, generation=True
    ),
    _builtin(
        "autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "V2HorizontalPodAutoscaler",
        short_names=("hpa",), categories=("all",), status=True,
    ),
    _builtin("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
    _cluster("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", short_names=("pc",)),
    _cluster("storage.k8s.io", "v1", "StorageClass", "storageclasses", short_names=("sc",)),
    _cluster(
        "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions",
        short_names=("crd", "crds"), categories=("api-extensions",), status=True, generation=True,
    ),
    _builtin("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", **REVIEW),
    _builtin("authorization.k8s.io", "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", **REVIEW),
    _builtin("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", **REVIEW),
    _builtin("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", **REVIEW),
    _builtin("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", **REVIEW),
)  # fmt: skip

METADATA = OBJECT_META


class Kinds:
    """Every resource served at this moment, by group, version and plural."""

    def __init__(self, built_in: tuple[Kind, ...] = BUILT_IN) -> None:
        self._served: dict[tuple[str, str, str], Kind] = {}
        for kind in built_in:
            self._served[kind.group, kind.version, kind.plural] = kind

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        return self._served.get((group, version, plural))

    def storage(self, group: str, plural: str) -> Kind | None:
        """The version a resource is stored in."""
        found = [each for each in self if each.storage_key == (group, plural)]
        return next((each for each in found if each.version == (each.storage_version or each.version)), None)

    def install(self, group: str, plural: str, versions: tuple[Kind, ...]) -> None:
        """Replace what is served for a custom resource; no versions at all removes it."""
        kept = {key: each for key, each in self._served.items() if each.storage_key != (group, plural)}
        self._served = kept | {(each.group, each.version, each.plural): each for each in versions}

    def groups(self) -> Mapping[str, list[str]]:
        """The versions of each group, preferred first, groups in the order they appeared."""
        found: dict[str, list[str]] = {}
        for kind in self:
            versions = found.setdefault(kind.group, [])
            if kind.version not in versions:
                versions.append(kind.version)
        return {group: sorted(versions, key=version_priority) for group, versions in found.items()}

    def of(self, group: str, version: str) -> list[Kind]:
        return [kind for kind in self if (kind.group, kind.version) == (group, version)]

    def is_built_in(self, group: str) -> bool:
        return any(kind.group == group and not kind.custom for kind in self)

    def stored(self) -> list[Kind]:
        """One kind for every stored resource."""
        return list({kind.storage_key: kind for kind in self if not kind.ephemeral}.values())

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._served.values())


def version_priority(version: str) -> tuple[int, int, int, str]:
    """Sort key of API versions: GA before beta before alpha, newer first, anything else last by name."""
    for rank, word in enumerate(("", "beta", "alpha")):
        head, _, tail = version[1:].partition(word) if word else (version[1:], "", "")
        if (
            version.startswith("v")
            and head.isdigit()
            and (not word or tail.isdigit())
            and (not word or word in version)
        ):
            return rank, -int(head), -int(tail or 0), ""
    return 3, 0, 0, version
