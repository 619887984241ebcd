"""What a task's metadata comes back as."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protoqueue import InvalidTask
from protoqueue.protocol.task_codec import decode_task, encode_task, with_id
from protoqueue.protocol.v1 import task_pb2

EXACT = 2**53
NUMBERS = st.integers(-EXACT, EXACT) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=12,
)


def as_json(metadata: Any) -> str:
    """Equal where types are as well: 5 is not 5.0, nor 0.0 -0.0."""
    return json.dumps(metadata, sort_keys=True)


def there_and_back(metadata: dict[str, Any]) -> Any:
    return decode_task(encode_task("1", b"", metadata=metadata), {}, 1).metadata


@settings(max_examples=50)
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), VALUES))
def test_metadata_comes_back_as_it_was_type_by_type(metadata: dict[str, Any]) -> None:
    assert as_json(there_and_back(metadata)) == as_json(metadata)


@pytest.mark.parametrize(
    "value", [0, 1, -7, EXACT, -EXACT, 5.0, -0.0, 1e300, 1.5, True, [1, 1.0], {"a/b~c": {"": 2.0, "x": 2}}]
)
def test_integers_stay_integers_and_floats_stay_floats(value: Any) -> None:
    assert as_json(there_and_back({"order": value})) == as_json({"order": value})


@pytest.mark.parametrize("value", [EXACT + 1, -EXACT - 1, 2**60 + 1, [{"deep": 10**400}]])
def test_an_integer_that_would_lose_digits_is_refused_with_its_place(value: Any) -> None:
    with pytest.raises(InvalidTask, match=r"metadata/a~1b.*2\*\*53.*as text"):
        there_and_back({"a/b": value})


def test_whole_numbers_of_another_producer_are_integers() -> None:
    wire = task_pb2.Task(id="1")
    wire.metadata.custom_metadata.update({"n": 3, "big": 2.0**60, "half": 0.5, "list": [1]})
    metadata = decode_task(wire.SerializeToString(), {}, 1).metadata
    assert (repr(metadata["n"]), repr(metadata["list"])) == ("3", "[1]")
    assert [type(metadata[key]) for key in ("n", "big", "half")] == [int, float, float]


def test_metadata_stays_as_it_is_when_a_task_gets_another_id() -> None:
    data = with_id(encode_task("1", b"", metadata={"a": 1, "b": 1.0}), "2")
    assert repr(decode_task(data, {}, 1).metadata["b"]) == "1.0"
