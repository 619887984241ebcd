"""What tables are made of: JSONPath and ages."""

from datetime import timedelta
from typing import Any

import pytest

from protoqueue_devcluster.apiserver.columns import short_duration
from protoqueue_devcluster.apiserver.jsonpath import find
from protoqueue_devcluster.apiserver.kinds import version_priority

OBJECT = {
    "spec": {"size": 3, "list": [{"a": 1}, {"a": 2}], "dotted.name": "x"},
    "status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Scaling", "status": "False"}]},
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.size", [3]),
        ("{.spec.size}", [3]),
        (".spec.none", []),
        (".spec.list[0].a", [1]),
        (".spec.list[-1].a", [2]),
        (".spec.list[*].a", [1, 2]),
        (r".spec.dotted\.name", ["x"]),
        (".spec['dotted.name']", ["x"]),
        ('.status.conditions[?(@.type=="Ready")].status', ["True"]),
        ("$.status.conditions[?(@.type!='Ready')].status", ["False"]),
    ],
)
def test_paths_lead_to_values(path: str, found: list[Any]) -> None:
    assert find(OBJECT, path) == found


def test_a_path_beyond_the_subset_is_refused() -> None:
    with pytest.raises(ValueError, match="unsupported JSONPath"):
        find(OBJECT, ".spec[")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"), (-60, "<invalid>"), (0, "0s"), (119, "119s"), (125, "2m5s"), (180, "3m"), (660, "11m"),
        (3600 * 4 + 60 * 5, "4h5m"), (3600 * 30, "30h"), (86400 * 3 + 7200, "3d2h"), (86400 * 100, "100d"),
        (86400 * 800, "2y70d"),
    ],
)  # fmt: skip
def test_ages_are_short(seconds: int, text: str) -> None:
    assert short_duration(timedelta(seconds=seconds)) == text


def test_versions_rank_by_maturity_then_by_number() -> None:
    versions = ["v1alpha1", "foo", "v2", "v1beta2", "v1", "v1beta1", "v10"]
    assert sorted(versions, key=version_priority) == ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]
