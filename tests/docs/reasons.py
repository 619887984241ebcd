"""The reasons that the operator's code can give, read from the code: constants passed for a parameter `reason`."""

import ast
from collections.abc import Iterator
from pathlib import Path


def reasons(source: Path) -> set[str]:
    trees = [ast.parse(path.read_text()) for path in sorted(source.rglob("*.py"))]
    places = {name: place for tree in trees for name, place in _places(tree)}
    # Reasons are CamelCase: what else is found is an argument of some other function of the same name.
    return {reason for tree in trees for reason in _given(tree, places) if reason[:1].isupper()}


def _places(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Where each function, method and dataclass takes its `reason`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [argument.arg for argument in node.args.args if argument.arg != "self"]
            name = node.name
        elif isinstance(node, ast.ClassDef):
            names = [each.target.id for each in node.body if isinstance(each, ast.AnnAssign) and _is_name(each.target)]
            name = node.name
        else:
            continue
        if "reason" in names:
            yield name, names.index("reason")


def _given(tree: ast.Module, places: dict[str, int]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            arguments = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
            if name in places and len(node.args) > places[name]:
                arguments.append(node.args[places[name]])
            yield from (text for argument in arguments for text in _constants(argument))
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            yield from (t for key, value in pairs if _constants(key) == ["reason"] for t in _constants(value))
        elif isinstance(node, ast.ClassDef):
            for each in node.body:
                if isinstance(each, ast.Assign) and [_name(target) for target in each.targets] == ["reason"]:
                    yield from _constants(each.value)


def _constants(node: ast.AST | None) -> list[str]:
    """The text a node is, or may become as a conditional expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    return [*_constants(node.body), *_constants(node.orelse)] if isinstance(node, ast.IfExp) else []


def _is_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Name)


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""
