"""How commands lay out what they print."""

import pytest

from protoqueue.cli.table import one_line, table_lines


def test_columns_are_as_wide_as_needed_and_nothing_follows_the_last() -> None:
    assert table_lines(("ID", "N", "TEXT"), [("a", 1, "x"), ("long-id", None, "")]) == [
        "ID        N   TEXT",
        "a         1   x",
        "long-id",
    ]


def test_a_narrow_terminal_loses_spare_columns_in_their_order_and_then_the_end_of_the_last() -> None:
    columns, row = ("ID", "GROUP", "TYPE", "ERROR"), ("0123456789", "mailers", "welcome", "e" * 60)
    spare = ("GROUP", "TYPE")
    assert table_lines(columns, [row], 60, spare)[0].split() == ["ID", "GROUP", "TYPE", "ERROR"]
    assert table_lines(columns, [row], 45, spare)[0].split() == ["ID", "TYPE", "ERROR"]
    header, line = table_lines(columns, [row], 32, spare)
    assert (header.split(), line) == (["ID", "ERROR"], "0123456789   " + "e" * 18 + "…")


def test_wide_characters_take_two_cells() -> None:
    assert table_lines(("A", "B"), [("日本", "x"), ("ab", "y")]) == ["A      B", "日本   x", "ab     y"]


@pytest.mark.parametrize(
    ("text", "line"),
    [("a\n  b\tc", "a b c"), ("\x1b[31mred", "\\x1b[31mred"), ("x" * 9, "x" * 4 + "…"), ("", "")],
)
def test_what_others_have_written_stays_one_harmless_line(text: str, line: str) -> None:
    assert one_line(text, None if text != "x" * 9 else 5) == line
