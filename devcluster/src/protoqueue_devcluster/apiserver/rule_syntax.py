"""The syntax tree of a CEL expression: the evaluator compiles expressions and does not show what it parsed.

All of the CEL grammar but optional field selection (`a.?b`), which the evaluator does not take either.
"""

import re
from dataclasses import dataclass
from typing import Any

TOKEN = re.compile(
    r"""(?P<space>(?:\s|//[^\n]*)+)
    |(?P<text>(?P<prefix>[rR][bB]?|[bB][rR]?|)(?:
        \"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    |(?P<double>\d*\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)
    |(?P<int>(?:0x[0-9a-fA-F]+|\d+)(?P<uint>[uU]?))
    |(?P<name>[A-Za-z_]\w*|`[^`]*`)
    |(?P<operator><=|>=|==|!=|&&|\|\||[-+*/%!<>?:.,()\[\]{}])""",
    re.VERBOSE | re.DOTALL,
)
RAW_TEXT = re.compile(r"(?P<prefix>[rR][bB]?|[bB][rR])(?P<quote>\"\"\"|'''|\"|').*?(?P=quote)", re.DOTALL)
ESCAPE = re.compile(r"\\(?:[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}|.)", re.DOTALL)
LEVELS = (("<", "<=", ">", ">=", "==", "!=", "in"), ("+", "-"), ("*", "/", "%"))
"""Binary operators, the loosest first; `&&` and `||` bind looser still."""
PLAIN = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
CONSTANTS = {"true": "bool", "false": "bool", "null": "null"}


class SyntaxFault(ValueError):
    """The text is not a CEL expression."""


@dataclass(frozen=True)
class Expr:
    """One node. `kind` is literal, name, select, has, call, operator, list, map or struct.

    Of operators, an index is `[]`, a condition `?:`, and those of one operand end in `_`. Of a literal, `name` is its
    type, `value` what it stands for, and `size` the length of its text or 1.
    """

    kind: str
    name: str = ""
    target: "Expr | None" = None
    args: tuple["Expr", ...] = ()
    size: int = 1
    value: Any = None


def parse(text: str) -> Expr:
    """The tree of an expression. Raises SyntaxFault, and RecursionError for what is nested too deeply."""
    parser = _Parser(text)
    tree = parser.expression()
    if parser.kind != "end":
        raise parser.fault()
    return tree


def _unescaped(match: re.Match[str]) -> str:
    escape = match.group()[1:]
    if escape[0] in "xXuU" and len(escape) > 1:
        return chr(min(int(escape[1:], 16), 0x10FFFF))
    return chr(int(escape, 8)) if len(escape) > 1 else PLAIN.get(escape, escape)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.place, self.start = text, 0, 0
        self.kind = self.lexeme = ""
        self.sign = 1  # of the number that comes next
        self.advance()

    def advance(self) -> None:
        while True:
            self.start = self.place
            if self.place == len(self.text):
                self.kind, self.lexeme = "end", ""
                return
            match = RAW_TEXT.match(self.text, self.place) or TOKEN.match(self.text, self.place)
            if match is None:
                raise self.fault()
            self.place = match.end()
            self.kind, self.lexeme = "text" if match.re is RAW_TEXT else str(match.lastgroup), match.group()
            if self.kind != "space":
                return

    def fault(self) -> SyntaxFault:
        line, column = self.text.count("\n", 0, self.start) + 1, self.start - self.text.rfind("\n", 0, self.start) - 1
        return SyntaxFault(
            f"ERROR: <input>:{line}:{column}: Syntax error: unexpected {self.lexeme or 'end of input'!r}"
        )

    def taken(self, *operators: str) -> str:
        """The operator that comes next, taken; empty where another comes."""
        found = self.lexeme if self.kind in {"operator", "name"} and self.lexeme in operators else ""
        if found:
            self.advance()
        return found

    def expect(self, operator: str) -> None:
        if not self.taken(operator):
            raise self.fault()

    def word(self) -> str:
        if self.kind != "name":
            raise self.fault()
        name = self.lexeme.strip("`")
        self.advance()
        return name

    def expression(self) -> Expr:
        condition = self.junction("||")
        if not self.taken("?"):
            return condition
        chosen = self.junction("||")
        self.expect(":")
        return Expr("operator", "?:", args=(condition, chosen, self.expression()))

    def junction(self, operator: str) -> Expr:
        terms = [self.junction("&&") if operator == "||" else self.binary(0)]
        while self.taken(operator):
            terms.append(self.junction("&&") if operator == "||" else self.binary(0))
        return terms[0] if len(terms) == 1 else Expr("operator", operator, args=tuple(terms))

    def binary(self, level: int) -> Expr:
        if level == len(LEVELS):
            return self.unary()
        left = self.binary(level + 1)
        while operator := self.taken(*LEVELS[level]):
            left = Expr("operator", operator, args=(left, self.binary(level + 1)))
        return left

    def unary(self) -> Expr:
        operator, count = self.lexeme, 0
        while operator in {"!", "-"} and self.taken(operator):
            count += 1
        negative = operator == "-" and self.kind in {"int", "uint", "double"}  # then the sign is the number's
        self.sign = -1 if negative else 1
        operand = self.member()
        return Expr("operator", f"{operator}_", args=(operand,)) if (count - negative) % 2 else operand

    def member(self) -> Expr:
        value = self.primary()
        while True:
            if self.taken("."):
                name = self.word()
                if self.taken("("):
                    value = Expr("call", name, value, self.until(")"))
                elif self.kind == "operator" and self.lexeme == "{":
                    value = self.struct()
                else:
                    value = Expr("select", name, value)
            elif self.taken("["):
                value = Expr("operator", "[]", args=(value, self.expression()))
                self.expect("]")
            elif value.kind == "name" and self.kind == "operator" and self.lexeme == "{":
                value = self.struct()
            else:
                return value

    def primary(self) -> Expr:
        signed = self.taken("-")  # a number's, after a `!`
        if self.kind in {"int", "uint", "double"} or (self.kind == "text" and not signed):
            self.sign = -1 if signed else self.sign
            return self.literal()
        if signed:
            raise self.fault()
        if self.taken("("):
            inner = self.expression()
            self.expect(")")
            return inner
        if self.taken("["):
            return Expr("list", args=self.until("]"))
        if self.taken("{"):
            return Expr("map", args=self.entries())
        rooted = self.taken(".")
        name = self.word()
        if name == "in" or (rooted and name in CONSTANTS):
            raise self.fault()
        if name in CONSTANTS:
            return Expr("literal", CONSTANTS[name], value={"true": True, "false": False}.get(name))
        if not self.taken("("):
            return Expr("name", name)
        args = self.until(")")
        if name == "has" and len(args) == 1 and args[0].kind == "select":
            return Expr("has", args[0].name, args[0].target)
        return Expr("call", name, args=args)

    def literal(self) -> Expr:
        kind, token, sign = self.kind, self.lexeme, self.sign
        self.sign = 1
        self.advance()
        if kind == "double":
            return Expr("literal", kind, value=sign * float(token))
        if kind != "text":
            digits = token.rstrip("uU")
            own = "uint" if digits != token else kind
            return Expr("literal", own, value=sign * int(digits, 16 if digits[:2] == "0x" else 10))
        body = token.lstrip("rRbB")
        prefix = token[: len(token) - len(body)].lower()
        quotes = 3 if body[:3] in {'"""', "'''"} else 1
        content = body[quotes:-quotes]
        content = content if "r" in prefix else ESCAPE.sub(_unescaped, content)
        if "b" in prefix:
            return Expr("literal", "bytes", size=len(content.encode()), value=content.encode())
        return Expr("literal", "string", size=len(content), value=content)

    def struct(self) -> Expr:
        self.expect("{")
        return Expr("struct", args=self.entries()[1::2])

    def entries(self) -> tuple[Expr, ...]:
        """Keys and values in turn, up to the brace that closes them."""
        found: list[Expr] = []
        while not self.taken("}"):
            found.append(self.expression())
            self.expect(":")
            found.append(self.expression())
            if not self.taken(","):
                self.expect("}")
                break
        return tuple(found)

    def until(self, closing: str) -> tuple[Expr, ...]:
        found: list[Expr] = []
        while not self.taken(closing):
            found.append(self.expression())
            if not self.taken(","):
                self.expect(closing)
                break
        return tuple(found)
