"""What an API server makes of an object of a custom kind, by the schema and the rules in its definition."""

import copy
from pathlib import Path
from typing import Any

import yaml

from protoqueue_devcluster.apiserver.crds import versions_of
from protoqueue_devcluster.apiserver.schema import Unknown, fill_defaults, prune
from protoqueue_devcluster.apiserver.validation import validate
from protoqueue_operator.api.v1alpha1.crd import crds

PROMETHEUS_OPERATOR = Path(__file__).parent / "chart" / "prometheus_operator"
DEFINITIONS = [*crds().values(), *(yaml.safe_load(path.read_text()) for path in PROMETHEUS_OPERATOR.iterdir())]
SCHEMAS = {
    (f"{kind.group}/{kind.version}", kind.kind): kind.schema
    for definition in DEFINITIONS
    for kind in versions_of(definition)
}
"""By apiVersion and kind: ProtoQueue's own and those of the Prometheus Operator."""


def is_known(document: dict[str, Any]) -> bool:
    return (document["apiVersion"], document["kind"]) in SCHEMAS


def stored(document: dict[str, Any]) -> dict[str, Any]:
    """The object as it would be kept; an AssertionError where it would be refused."""
    schema = SCHEMAS[document["apiVersion"], document["kind"]]
    unknown = Unknown()
    kept: dict[str, Any] = fill_defaults(prune(copy.deepcopy(document), schema, unknown), schema)
    assert not unknown.paths, f"unknown fields: {unknown.paths}"
    causes = validate(kept, None, schema)
    assert not causes, causes
    return kept
