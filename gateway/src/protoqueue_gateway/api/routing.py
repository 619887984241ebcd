"""Which operations a path has."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from protoqueue_gateway.api.operation import Endpoint, Operation, Services


@dataclass
class _Node:
    """What may follow on the way to a path: names that are fixed, and one that may be any."""

    fixed: "dict[str, _Node]" = field(default_factory=dict)
    any: "tuple[str, _Node] | None" = None
    endpoint: Endpoint | None = None

    def under(self, segment: str) -> "_Node":
        if not segment.startswith("{"):
            return self.fixed.setdefault(segment, _Node())
        name = segment.strip("{}")
        self.any = self.any or (name, _Node())
        assert self.any[0] == name, f"{name} is called {self.any[0]} in another path"
        return self.any[1]

    def find(self, segments: Sequence[str], at: int, values: dict[str, str]) -> Endpoint | None:
        """A fixed name goes before what may be any; `values` gets what stands for the latter."""
        if at == len(segments):
            return self.endpoint
        segment = segments[at]
        if (fixed := self.fixed.get(segment)) is not None and (found := fixed.find(segments, at + 1, values)):
            return found
        if self.any is not None and segment:
            name, node = self.any
            if found := node.find(segments, at + 1, values):
                values[name] = segment
                return found
        return None


class Routes:
    """Calls the operations on a path, and `rest` for what has none. A plain ASGI application.

    On FastAPI's own way to a route a request passes eleven layers, which cost as much as everything else about it.
    """

    def __init__(
        self, forms: Sequence[str], operations: Iterable[Operation], services: Services, rest: ASGIApp
    ) -> None:  # fmt: skip
        self._root = _Node()
        self._rest = rest
        by_path: dict[str, list[Operation]] = {}
        for operation in operations:
            by_path.setdefault(operation.path, []).append(operation)
        for path, those in by_path.items():
            endpoint = Endpoint(those, services)
            for form in forms:
                node = self._root
                for segment in _segments(form + path):
                    node = node.under(segment)
                node.endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        values: dict[str, str] = {}
        endpoint = self._root.find(_segments(scope["path"]), 0, values) if scope["type"] == "http" else None
        if endpoint is None:
            await self._rest(scope, receive, send)
            return
        scope["path_params"] = values
        await endpoint(scope, receive, send)


def _segments(path: str) -> Sequence[str]:
    """A slash at the end says nothing."""
    segments = path.split("/")
    return segments[:-1] if len(segments) > 2 and not segments[-1] else segments
