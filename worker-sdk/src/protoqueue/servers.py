"""Addresses of NATS servers, as people write them and as they may be shown."""

import re

_SERVER = re.compile(r"(?:(?:nats|tls|ws|wss)://)?(?:[^@/?#\s]*@)?(?:[-\w.]+|\[[:\w.%]+\])(?::\d{1,5})?/?")


def split_servers(url: str) -> tuple[str, ...]:
    """Several servers are written with commas between them. Raises ValueError, which never quotes what is written."""
    servers = tuple(server.strip() for server in url.split(",") if server.strip())
    if not servers or not all(map(_SERVER.fullmatch, servers)):
        raise ValueError(
            "the URL is no address of NATS servers: write nats://host:4222, several with commas between them; "
            "what is special in a password is percent-encoded, an @ as %40"
        )
    return servers


def shown_server(server: str) -> str:
    """A server's address as it may be logged: without what stands before its `@`."""
    scheme, separator, rest = server.rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
