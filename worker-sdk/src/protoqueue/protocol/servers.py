"""Addresses of NATS servers, as people write them and as they may be shown, and how their errors may be shown."""

import re
from collections.abc import Iterable
from urllib.parse import unquote

_SERVER = re.compile(r"(?:(?:nats|tls|ws|wss)://)?(?:[^@/?#\s]*@)?(?:[-\w.]+|\[[:\w.%]+\])(?::\d{1,5})?/?")
_LOGIN = re.compile(r"(?<=//)[^@/?#\s]*@")
_NO_TOKEN = re.compile(r"[^-\w]", re.ASCII)
_INBOX_PREFIX = re.compile(r"[-\w]+(\.[-\w]+)*", re.ASCII)
_ENCRYPTED = ("tls://", "wss://")

DEFAULT_INBOX_PREFIX = "_INBOX"
LONGEST_TEXT = 300
"""Characters of an error that are shown: what a server sends may be of any length."""


def split_servers(url: str) -> tuple[str, ...]:
    """Splits a comma-separated list of servers. Raises ValueError, which never quotes the input."""
    servers = tuple(server.strip() for server in url.split(",") if server.strip())
    if not servers or not all(map(_SERVER.fullmatch, servers)):
        raise ValueError(
            "the URL is not a NATS server address: write nats://host:4222, several separated by commas; "
            "percent-encode special characters in a password (@ as %40)"
        )
    return servers


def shown_server(server: str) -> str:
    """A server's address as it may be logged: without anything before its `@`."""
    scheme, separator, rest = server.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"


def scheme_of(server: str) -> str:
    """The URL's scheme; `nats` if none is stated."""
    return server.partition("://")[0] if "://" in server else "nats"


def want_tls(servers: Iterable[str]) -> bool:
    """Whether one of these requires encryption: then connections to all of them are encrypted."""
    return any(server.startswith(_ENCRYPTED) for server in servers)


def user_of(servers: Iterable[str]) -> str | None:
    """The user of the first address with a password. A single word before an `@` is a token."""
    for server in servers:
        login, at, _ = server.rpartition("://")[2].rpartition("@")
        name, colon, _ = login.partition(":")
        if at and colon and name:
            return unquote(name)
    return None


def inbox_prefix_of(user: str | None) -> str:
    """What the inboxes of a user begin with, so that its NATS permissions can name them and no other user's.

    What cannot stand in one token of a subject becomes `_`.
    """
    return f"{DEFAULT_INBOX_PREFIX}_{_NO_TOKEN.sub('_', user)}" if user else DEFAULT_INBOX_PREFIX


def is_inbox_prefix(text: str) -> bool:
    """Whether inboxes may begin with it: tokens of a subject, none of them a wildcard."""
    return _INBOX_PREFIX.fullmatch(text) is not None


def one_line(text: str, longest: int = LONGEST_TEXT) -> str:
    """The text on one line of printable characters, and no longer than that: a server may send anything."""
    line = " ".join("".join(each if each.isprintable() else " " for each in text[: 4 * longest]).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def shown_error(error: BaseException) -> str:
    """An error's text as it may be logged: on one line, and without the logins of URLs in it."""
    return one_line(_LOGIN.sub("", str(error))) or type(error).__name__
