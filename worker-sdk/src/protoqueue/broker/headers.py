"""Headers as bytes of the NATS protocol. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_FOREIGN = re.compile(rb"\r\n(?!Nats-|Pq-)[^\r\n]+")


class RawHeaders(Mapping[str, str]):
    """A message's headers, parsed when one that exists is first read: for most tasks none is.

    It takes the bytes from `NATS/1.0` on.
    """

    __slots__ = ("_parsed", "_raw")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._parsed: dict[str, str] | None = None

    @property
    def _all(self) -> dict[str, str]:
        if self._parsed is None:
            self._parsed = parse_headers(self._raw)
        return self._parsed

    def get(self, name: str, /, default: Any = None) -> Any:
        if self._parsed is None:  # reading one header costs a tenth of parsing all
            raw, wanted = self._raw, name.encode()
            at = raw.find(wanted)
            if at < 0:
                return default
            end = at + len(wanted)
            is_line = raw[at - 2 : at] == b"\r\n" and raw[end : end + 1] == b":" and b":" not in wanted
            if is_line and raw.find(wanted, end) < 0 and (stop := raw.find(b"\r\n", end)) > 0:
                return raw[end + 1 : stop].strip().decode(errors="replace")
        return self._all.get(name, default)

    def foreign(self) -> Iterable[tuple[str, str]]:
        """Those that are neither NATS' nor ours: usually one of a dead letter's dozen, and only that is parsed."""
        if self._parsed is None:
            lines = b"".join(_FOREIGN.findall(self._raw))
            return parse_headers(lines).items() if lines else ()
        return [(name, text) for name, text in self._parsed.items() if not name.startswith(("Nats-", "Pq-"))]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __getitem__(self, name: str) -> str:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __repr__(self) -> str:
        return repr(self._all)


def parse_headers(raw: bytes) -> dict[str, str]:
    """As nats-py parses them: lines that are not headers are skipped, and invalid UTF-8 is replaced."""
    headers: dict[str, str] = {}
    for line in raw.split(b"\r\n")[1:]:
        name, colon, text = line.partition(b":")
        name = name.strip()
        if colon and name.isascii() and not any(map(str.isspace, name.decode())):
            headers[name.decode()] = text.strip().decode(errors="replace")
    return headers


def parse_status(raw: bytes) -> tuple[str, str]:
    """Code and description of a message of the server's own, as in `NATS/1.0 404 No Messages`; else both are empty."""
    _, _, status = raw.partition(b"\r\n")[0].decode(errors="replace").partition(" ")
    code, _, description = status.partition(" ")
    return code, description
