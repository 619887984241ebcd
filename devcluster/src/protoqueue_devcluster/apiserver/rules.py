"""Validation rules in CEL (`x-kubernetes-validations`), with the function library Kubernetes adds to the language."""

import importlib
import importlib.machinery
import importlib.util
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any


def _load_cel() -> Any:
    """The compiled part of the `cel` package, without its `__init__`: that imports a whole command line in 0.5 s."""
    package = importlib.util.find_spec("cel")
    places = package.submodule_search_locations if package is not None else None
    found = importlib.machinery.PathFinder.find_spec("cel", list(places)) if places else None
    if found is None or not isinstance(found.loader, importlib.machinery.ExtensionFileLoader):
        return importlib.import_module("cel")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


cel = _load_cel()

RESERVED = frozenset(
    {
        "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
        "namespace", "null", "package", "return", "true", "var", "void", "while",
    }
)  # fmt: skip
QUANTITY = re.compile(r"([+-]?[0-9.]+)(?:([eE][+-]?[0-9]+)|([numkMGTPE]|[KMGTPE]i)?)$")
SUFFIXES = {"n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "k": Decimal(1000)}
SUFFIXES |= {suffix: Decimal(1000) ** power for power, suffix in enumerate("MGTPE", start=2)}
SUFFIXES |= {f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)}


PART = re.compile(r"\b(?:self|oldSelf)\.(\w+)\b(?!\()")
WHOLE = re.compile(r"\b(?:self|oldSelf)\b(?!\.\w+\b(?!\())")


class InvalidRule(ValueError):
    """A rule that does not parse; the text says where."""


def quantity(text: str) -> Decimal:
    """The number a Kubernetes quantity such as `1.5Gi` or `100m` stands for. Raises ValueError."""
    match = QUANTITY.match(str(text))
    if match is None:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    number, exponent, suffix = match.groups()
    try:
        value = Decimal(number + (exponent or ""))
    except InvalidOperation:
        raise ValueError(f"unable to parse quantity's number: {number}") from None
    return value * SUFFIXES[suffix] if suffix else value


def _is_quantity(text: str) -> bool:
    try:
        quantity(text)
    except ValueError:
        return False
    return True


def _find(text: str, pattern: str) -> str:
    match = re.search(pattern, text)
    return match.group() if match else ""


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    return text.replace(old, new, count)


def _substring(text: str, start: int, end: int | None = None) -> str:
    stop = len(text) if end is None else end
    if not 0 <= start <= stop <= len(text):
        raise ValueError(f"index out of range: {start}")
    return text[start:stop]


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "quantity": lambda text: float(quantity(text)),
    "isQuantity": _is_quantity,
    "isGreaterThan": lambda left, right: left > right,
    "isLessThan": lambda left, right: left < right,
    "compareTo": lambda left, right: (left > right) - (left < right),
    "isInteger": lambda number: float(number).is_integer(),
    "asInteger": int,
    "asApproximateFloat": float,
    "sign": lambda number: (number > 0) - (number < 0),
    "find": _find,
    "findAll": lambda text, pattern: [match.group() for match in re.finditer(pattern, text)],
    "split": lambda text, separator, limit=-1: text.split(separator, limit - 1 if limit > 0 else -1),
    "join": lambda parts, separator="": separator.join(parts),
    "lowerAscii": lambda text: text.lower(),
    "upperAscii": lambda text: text.upper(),
    "trim": lambda text: text.strip(),
    "replace": _replace,
    "substring": _substring,
    "charAt": lambda text, index: text[index : index + 1],
    "indexOf": lambda within, what: within.find(what) if isinstance(within, str) else _index_of(within, what),
    "isSorted": lambda items: all(left <= right for left, right in itertools.pairwise(items)),
    "sum": lambda items: sum(items),
    "min": lambda items: min(items),
    "max": lambda items: max(items),
}


def _index_of(items: list[Any], what: Any) -> int:
    return items.index(what) if what in items else -1


@dataclass(frozen=True)
class Rule:
    """A compiled rule; `transition` ones speak about `oldSelf` and need an old value."""

    source: str
    program: Any
    message: str
    message_expression: str
    message_program: Any
    reason: str
    field_path: str
    transition: bool
    optional_old: bool
    functions: Mapping[str, Callable[..., Any]]
    parts: frozenset[str] | None
    """The fields of `self` that the rule looks at; None where it takes `self` as a whole."""

    def view(self, value: Any) -> Any:
        """As much of a value as the rule depends on: handing CEL a whole object is what a rule costs most."""
        if self.parts is None or not isinstance(value, dict):
            return value
        return {name: value[name] for name in self.parts if name in value}

    def applies(self, has_old: bool) -> bool:
        return has_old or self.optional_old or not self.transition

    def variables(self, value: Any, old: Any) -> dict[str, Any]:
        """What the rule speaks of; an optional old value is left to who runs it."""
        variables = {"self": self._readable(value)}
        if self.transition and not self.optional_old:
            variables["oldSelf"] = self._readable(old)
        return variables

    def failure(self, value: Any, old: Any, has_old: bool) -> str | None:
        """Why the rule refuses `value`; None when it holds or, being a transition rule, does not apply."""
        if not self.applies(has_old):
            return None
        variables = self.variables(value, old)
        if self.optional_old:
            variables["oldSelf"] = cel.OptionalValue.of(self._readable(old)) if has_old else cel.OptionalValue.none()
        context = cel.Context(variables, self.functions)
        try:
            if self.program.execute(context) is True:
                return None
        except (KeyError, RuntimeError, TypeError, ValueError, ArithmeticError) as error:
            # A missing field is a KeyError whose text is the key; Kubernetes names key and rule.
            what = f"no such key: {error.args[0]}" if isinstance(error, KeyError) else str(error)
            return f"{what} evaluating rule: {self.message or self.source}"
        return self._message(context)

    def _message(self, context: Any) -> str:
        if self.message_program is not None:
            try:
                return str(self.message_program.execute(context)).strip()
            except (KeyError, RuntimeError, TypeError, ValueError):
                pass  # Kubernetes falls back to the static message as well
        return self.message or f"failed rule: {self.source}"

    def _readable(self, value: Any) -> Any:
        return _escaped(value) if "__" in self.source else value


def _escaped(value: Any) -> Any:
    """Field names as CEL can write them: reserved words and separators in double underscores."""
    if isinstance(value, list):
        return [_escaped(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {escaped_name(name): _escaped(each) for name, each in value.items()}


def escaped_name(name: str) -> str:
    """A field's name as rules write it."""
    plain = name.replace("__", "__underscores__").replace(".", "__dot__").replace("-", "__dash__")
    return f"__{name}__" if name in RESERVED else plain.replace("/", "__slash__")


def _compiled(source: str) -> Any:
    try:
        program = cel.compile(source)
    except ValueError as error:
        raise InvalidRule(f"compilation failed: {error}") from None
    for name in program.references()["functions"]:
        if name.isidentifier() and name not in FUNCTIONS and name not in BUILT_IN:
            raise InvalidRule(f"compilation failed: ERROR: undeclared reference to '{name}' (in container '')")
    return program


BUILT_IN = frozenset(
    {
        "all", "bool", "bytes", "contains", "double", "duration", "dyn", "endsWith", "exists", "existsOne",
        "exists_one", "filter", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours",
        "getMilliseconds", "getMinutes", "getMonth", "getSeconds", "has", "hasValue", "in", "int", "map", "matches",
        "none", "of", "ofNonZeroValue", "optional", "or", "orValue", "size", "startsWith", "string", "timestamp",
        "type", "uint", "value",
    }
)  # fmt: skip


def parse_rules(raw: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """Compile the rules of one schema node. Raises InvalidRule."""
    return tuple(_parse_rule(each) for each in raw)


def _parse_rule(raw: Mapping[str, Any]) -> Rule:
    source = raw.get("rule", "")
    program = _compiled(source)
    expression = raw.get("messageExpression")
    message_program = _compiled(expression) if expression else None
    needed = {
        name for each in (program, message_program) if each is not None for name in each.references()["functions"]
    }
    parts = frozenset(PART.findall(source + (expression or "")))
    whole = WHOLE.search(source + " " + (expression or "")) is not None or "__" in source
    return Rule(
        source=source,
        program=program,
        message=raw.get("message", ""),
        message_expression=expression or "",
        message_program=message_program,
        reason=raw.get("reason", "FieldValueInvalid"),
        field_path=raw.get("fieldPath", ""),
        transition="oldSelf" in program.references()["variables"],
        optional_old=bool(raw.get("optionalOldSelf")),
        functions={name: FUNCTIONS[name] for name in needed if name in FUNCTIONS},
        parts=None if whole else parts,
    )
