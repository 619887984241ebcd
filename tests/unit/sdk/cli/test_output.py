import json

import pytest

from protoqueue.cli.output import Format, print_data, print_table


@pytest.mark.parametrize("cell", ["\x1b]0;owned\x07", "\x9b31m", "a\rb", "\udc80"])
def test_nothing_that_others_have_written_reaches_the_terminal_as_a_command(
    capsys: pytest.CaptureFixture[str], cell: str
) -> None:
    print_table(("PAYLOAD",), [(cell,)])
    out = capsys.readouterr().out
    assert all(character.isprintable() for character in out.replace("\n", ""))


@pytest.mark.parametrize("cell", ["[red]x[/]", r"\[red]x", "[", r"C:\dir", "grüße"])
def test_text_is_printed_as_it_is(capsys: pytest.CaptureFixture[str], cell: str) -> None:
    print_table(("PAYLOAD",), [(cell,)])
    assert capsys.readouterr().out.splitlines()[1].strip() == cell


@pytest.mark.parametrize("text", ["\x1b]0;owned\x07", "\x9b31m", "a\rb", "\udc80", "\U000e0001", "grüße\n"])
def test_json_says_the_same_without_commanding_a_terminal(capsys: pytest.CaptureFixture[str], text: str) -> None:
    print_data({"payload": text}, Format.JSON)
    out = capsys.readouterr().out
    assert all(character.isprintable() for character in out.replace("\n", ""))
    assert json.loads(out) == {"payload": text}
    assert ("ü" in out) == ("ü" in text)
