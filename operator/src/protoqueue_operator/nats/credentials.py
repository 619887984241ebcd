"""Address and credentials of a NATS server, from a Secret's keys or the files of the same names in a directory."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from protoqueue.protocol.servers import (
    inbox_prefix_of,
    is_inbox_prefix,
    scheme_of,
    shown_server,
    split_servers,
    user_of,
)
from protoqueue_operator.api.v1alpha1.errors import SecretInvalid

SECRET_KEYS = ("url", "creds", "nkey", "token", "user", "password", "inboxPrefix", "ca.crt", "tls.crt", "tls.key")

SECRET_SCHEMES = ("nats", "tls")
"""URL schemes of Secrets. With WebSocket, tenants could aim HTTP requests of the operator inside the cluster."""


@dataclass(frozen=True)
class Credentials:
    """Equal values share a connection. Only `where` and `shown_url` may be shown."""

    servers: tuple[str, ...] = field(repr=False)
    creds: str = field(default="", repr=False)
    nkey: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    ca: str = field(default="", repr=False)
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    inbox_prefix: str = field(default="", repr=False)

    @property
    def inboxes(self) -> str:
        """The prefix of the subjects on which answers arrive: by default the user's own."""
        return self.inbox_prefix or inbox_prefix_of(self.user or user_of(self.servers))

    @property
    def where(self) -> str:
        """The servers, without anything before the `@` of their URLs."""
        return ", ".join(shown_server(server) for server in self.servers)

    @property
    def shown_url(self) -> str:
        """The same, as clients take it."""
        return ",".join(shown_server(server) for server in self.servers)


def parse_credentials(values: Mapping[str, str], source: str, schemes: Collection[str] | None = None) -> Credentials:
    """Read the keys of a Secret, already decoded; `source` names it in messages.

    With `schemes` the URL may have no others. Raises SecretInvalid.
    """
    url = values.get("url", "").strip()
    if not url:
        raise SecretInvalid(f"{source} has no key url")
    ways = [way for way in ("creds", "nkey", "token", "user") if values.get(way)]
    if len(ways) > 1:
        raise SecretInvalid(f"{source} has {' and '.join(ways)}: keep one of them")
    if bool(values.get("user")) != bool(values.get("password")):
        raise SecretInvalid(f"{source} needs user and password together")
    if bool(values.get("tls.crt")) != bool(values.get("tls.key")):
        raise SecretInvalid(f"{source} needs tls.crt and tls.key together")
    try:
        servers = split_servers(url)
    except ValueError as error:
        raise SecretInvalid(f"{source}: {error}") from None
    if schemes is not None and not all(scheme_of(server) in schemes for server in servers):
        raise SecretInvalid(f"{source}: the scheme of the url must be {' or '.join(schemes)}")
    inbox_prefix = values.get("inboxPrefix", "").strip()
    if inbox_prefix and not is_inbox_prefix(inbox_prefix):
        raise SecretInvalid(f"{source}: inboxPrefix is not a subject: write tokens such as _INBOX_jo")
    return Credentials(
        servers=servers,
        inbox_prefix=inbox_prefix,
        creds=values.get("creds", ""),
        nkey=values.get("nkey", "").strip(),
        token=values.get("token", "").strip(),
        user=values.get("user", "").strip(),
        password=values.get("password", "").strip(),
        ca=values.get("ca.crt", ""),
        certificate=values.get("tls.crt", ""),
        key=values.get("tls.key", ""),
    )
