"""What `-o yaml` prints is read back by a YAML library as what it was."""

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from protoqueue.cli.yaml import to_yaml

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(values)
def test_every_value_is_read_back(value: Any) -> None:
    assert yaml.safe_load(to_yaml(value)) == value


@pytest.mark.parametrize(
    "text", ["no", "Yes", "1e3", "0x10", "2026-11-30", "~", "a: b", "- a", "\x1b[31m", "a\nb", " a", "", "null", "1:30"]
)
def test_a_text_stays_a_text(text: str) -> None:
    shown = to_yaml({"text": text, text: [text]})
    assert yaml.safe_load(shown) == {"text": text, text: [text]}
    assert all(character.isprintable() for line in shown.splitlines() for character in line)


def test_it_looks_like_what_kubectl_prints() -> None:
    value = {"queue": "default/email", "groups": {"mailers": {"waiting": 3, "levels": {}}}, "tags": ["a b", {"c": [1]}]}
    assert to_yaml(value) == (
        "queue: default/email\ngroups:\n  mailers:\n    waiting: 3\n    levels: {}\ntags:\n- a b\n- c:\n  - 1\n"
    )
