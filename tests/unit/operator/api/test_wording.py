import pytest

from protoqueue_operator.api.v1alpha1.text import counted


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((0, "task"), "0 tasks"),
        ((1, "task"), "1 task"),
        ((2, "dead letter"), "2 dead letters"),
        ((1, "task", "not yet due"), "1 task not yet due"),
        ((7, "task", "not yet due"), "7 tasks not yet due"),
    ],
)
def test_one_of_a_kind_is_no_plural(words: tuple[int, str], text: str) -> None:
    assert counted(*words) == text
