"""The reference page of the command line, from the application itself."""

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from protoqueue.cli.app import build_app


def commands() -> dict[str, Any]:
    """Every command that is not hidden, by what one types, such as `protoqueue dead list`."""
    return dict(_below("protoqueue", get_command(build_app())))


def commands_page() -> str:
    """The page, as Markdown."""
    found = commands()
    general = get_command(build_app())
    said = "Options of every command that connects, before its name or after it:"
    lines = ["# Command line", "", said, "", *_options(general)]
    for words, command in found.items():
        usage = " ".join([words, *(f"{_metavar(parameter)}" for parameter in _arguments(command))])
        lines += ["", f"## {words}", "", command.help or "", "", f"`{usage} [options]`", ""]
        lines += [f"- `{_metavar(one)}`: {one.help}" for one in _arguments(command) if getattr(one, "help", None)]
        lines += ["", *_options(command, besides=general)]
    return "\n".join(lines) + "\n"


def _below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
    for name, sub in sorted(getattr(command, "commands", {}).items()):
        if sub.hidden:
            continue
        if hasattr(sub, "commands"):
            yield from _below(f"{words} {name}", sub)
        else:
            yield f"{words} {name}", sub


def _arguments(command: Any) -> list[Any]:
    return [parameter for parameter in command.params if parameter.param_type_name == "argument"]


def _metavar(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _options(command: Any, besides: Any = None) -> Iterator[str]:
    """A table of its options, without those of the command `besides`."""
    told = {parameter.name for parameter in besides.params} if besides else set()
    options = [
        parameter
        for parameter in command.params
        if parameter.param_type_name == "option" and not parameter.hidden and parameter.name not in told | {"help"}
    ]
    options = [option for option in options if "completion" not in option.name]
    if not options:
        return
    yield "| option | default | |"
    yield "| --- | --- | --- |"
    for option in options:
        names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
        default = (
            "" if option.default in (None, (), []) or option.is_flag or callable(option.default) else option.default
        )
        yield f"| {names} | {f'`{_shown(default)}`' if default != '' else ''} | {option.help or ''} |"


def _shown(default: Any) -> str:
    return str(getattr(default, "value", default))
