"""A connection that ends only when it is closed."""

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import ParseResult, unquote

from nats.aio.client import DEFAULT_BUFFER_SIZE, DEFAULT_FLUSH_TIMEOUT, Client, Srv
from nats.errors import Error

from protoqueue.broker.nats_import import use_websockets
from protoqueue.broker.parser import MAX_MESSAGE_BYTES, BoundedParser
from protoqueue.broker.tcp import BoundedTcp
from protoqueue.protocol.servers import DEFAULT_INBOX_PREFIX, want_tls

if TYPE_CHECKING:
    from protoqueue.broker.websocket import StrictWebSocket


class UnreadableCredentials(Error):
    """The given key or credentials file is invalid."""

    def __str__(self) -> str:
        return "the credentials are not a valid key or credentials file"


class NotEncrypted(Error):
    """A connection that is to be encrypted is not: nothing was sent but, over WebSocket, the request for one."""

    def __str__(self) -> str:
        return "the server does not offer TLS, but the connection requires it; nothing was sent"


class NoProtocol(Error):
    """The other side does not speak the NATS protocol."""

    def __str__(self) -> str:
        return "the server does not speak the NATS protocol"


class _Address(ParseResult):
    """Says who one is by a URL: percent-encoded there, where a character would mean something else."""

    @property
    def username(self) -> str | None:
        return _decoded(super().username)

    @property
    def password(self) -> str | None:
        return _decoded(super().password)


def _decoded(text: str | None) -> str | None:
    return None if text is None else unquote(text)


def _cancellations() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task else 0


_REFUSED = re.compile(r'permissions violation for publish to "([^"]*)"', re.IGNORECASE)


class ReconnectingClient(Client):
    """nats-py's client gives up for good in cases in which it is worth going on; this one goes on.

    The server says why before it ends a connection, as when the password was changed or a JWT has run out; what is
    mounted as credentials may be no credentials for a moment; what listens there may be no NATS for a while. All of it
    can heal while this process runs.

    Where a URL's scheme is `tls` or `wss`, or a certificate is given, no server gets anything before TLS is up: nats-py
    takes a server's word for whether the connection is to be encrypted.
    """

    def __init__(
        self,
        inbox_prefix: str = DEFAULT_INBOX_PREFIX,
        largest_bytes: int = MAX_MESSAGE_BYTES,
        bytes_per_s: float | None = None,
    ) -> None:
        """No message larger than that is read, and no more in a second."""
        super().__init__()
        self._refused: Callable[[str], None] = lambda _subject: None
        self._bounds = BoundedParser(self, largest_bytes, bytes_per_s)
        self._ps = self._bounds
        self._inbox_prefix = bytearray(inbox_prefix.encode())
        self._is_to_be_encrypted = False
        self._cancellations = 0
        """How often the connecting task had been cancelled before."""
        self._try_ends_at = 0.0
        """By the event loop's clock: when the server that is tried must have let this client in."""
        self._transport: BoundedTcp | StrictWebSocket | None = None
        self._secrets: list[str] = []
        """Secrets that the server was told, as regular expressions."""

    async def connect(self, servers: str | list[str], **options: Any) -> None:  # type: ignore[override]  # fewer ways
        addresses = [servers] if isinstance(servers, str) else servers
        self._is_to_be_encrypted = options.get("tls") is not None or want_tls(addresses)
        self._cancellations = _cancellations()
        await super().connect(servers, inbox_prefix=bytes(self._inbox_prefix), **options)

    def lift_bounds(self) -> None:
        self._bounds.lift()

    async def _connect_to_server(self, s: Srv) -> None:
        self._check_cancelled()
        s.last_attempt = time.monotonic()
        self._end_try()
        transport = self._transport or self._new_transport(s.uri.scheme)
        self._transport = transport
        timeout_s = self.options["connect_timeout"]
        self._try_ends_at = asyncio.get_running_loop().time() + timeout_s
        if s.uri.scheme == "wss":
            await transport.connect_tls(s.uri, self.ssl_context, DEFAULT_BUFFER_SIZE, timeout_s)
        else:
            await transport.connect(s.uri, DEFAULT_BUFFER_SIZE, timeout_s)

    def _new_transport(self, scheme: str) -> "BoundedTcp | StrictWebSocket":
        if scheme not in ("ws", "wss"):
            return BoundedTcp()
        if self._is_to_be_encrypted and scheme == "ws":
            raise NotEncrypted
        from protoqueue.broker.websocket import StrictWebSocket  # its library takes a second to import

        return StrictWebSocket(self.options["ws_connection_headers"])

    def _end_try(self) -> None:
        """End what is left of a try that failed: nats-py goes on to the next one without, while it reconnects."""
        for task in (self._reading_task, self._ping_interval_task, self._flusher_task):
            if task is not None:
                task.cancel()
        if self._transport:
            self._transport.abort()

    async def _process_connect_init(self) -> None:
        # nats-py gives each step as long as the whole may take.
        try:
            async with asyncio.timeout_at(self._try_ends_at):
                await self._greet()
            self._check_cancelled()
        except BaseException:
            self._end_try()
            raise

    def _check_cancelled(self) -> None:
        """Before Python 3.12 `asyncio.wait_for` drops a cancellation that comes as what it waits for is done."""
        is_reconnecting = asyncio.current_task() is self._reconnection_task
        if _cancellations() > (0 if is_reconnecting else self._cancellations):
            raise asyncio.CancelledError

    async def _greet(self) -> None:
        try:
            await super()._process_connect_init()
        except Error as error:
            if (text := self._without_secrets(str(error))) != str(error):
                raise Error(text) from None
            raise
        except (OSError, TimeoutError, asyncio.CancelledError):
            raise
        except Exception:  # whatever nats-py makes of nonsense; reconnecting, it would end over it
            raise NoProtocol from None

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        sizes = [info.get("max_payload", 0), info.get("client_id", 0)]
        if not all(isinstance(size, int) and size >= 0 for size in sizes):
            raise NoProtocol
        if initial_connection and self._is_to_be_encrypted and not self._is_encrypted:
            # Anybody on the way can write here where the servers are. Once TLS is up the server says it again.
            info = {**info, "connect_urls": []}
        await super()._process_info(info, initial_connection)

    @property
    def _is_encrypted(self) -> bool:
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            return writer.get_extra_info("ssl_object") is not None
        return bool(getattr(self._transport, "is_encrypted", False))

    @staticmethod
    def _parse_server_uri(connect_url: str) -> ParseResult:
        # nats-py would send user, password and token as the URL spells them.
        address = _Address(*Client._parse_server_uri(connect_url))  # noqa: SLF001
        if address.scheme in ("ws", "wss"):
            use_websockets()
        return address

    async def flush(self, timeout: int = DEFAULT_FLUSH_TIMEOUT) -> None:
        if asyncio.current_task() is self._reconnection_task:  # the last step of a try
            timeout = min(timeout, self.options["connect_timeout"])
        await super().flush(timeout)

    async def close(self) -> None:
        """Close; what has not been flushed is not sent. Raises nothing where the connection is lost."""
        # nats-py would write what is pending to the connection that is lost, and fail over it half way.
        self._pending.clear()
        self._pending_data_size = 0
        await super().close()

    def on_refused(self, call: Callable[[str], None]) -> None:
        """Have `call` called with each subject, in lower case, on which the server takes nothing from this user."""
        self._refused = call

    async def _process_err(self, err_msg: str) -> None:
        # After what it does not forgive the server hangs up, and that is what reconnecting begins with.
        if refused := _REFUSED.search(err_msg):
            self._refused(refused[1].lower())  # nats-py has lowered some of it
        self._err = Error(f"nats: {self._without_secrets(err_msg.strip())}")
        await self._error_cb(self._err)

    def _setup_nkeys_connect(self) -> None:
        try:
            super()._setup_nkeys_connect()
        except OSError:
            raise
        except Exception:  # whatever a key library makes of a text that is no key; it may quote the text
            raise UnreadableCredentials from None

    def _connect_command(self) -> bytes:
        if self._is_to_be_encrypted and not self._is_encrypted:
            raise NotEncrypted
        try:
            command = super()._connect_command()
        except OSError:
            raise
        except Exception:
            raise UnreadableCredentials from None
        told = json.loads(command.removeprefix(b"CONNECT "))
        secrets = [told[name] for name in ("pass", "auth_token", "jwt", "sig") if told.get(name)]
        self._secrets = [re.escape(each) for text in secrets for each in {text, json.dumps(text)[1:-1]}]
        return command

    def _without_secrets(self, text: str) -> str:
        """A server can say again what it was told, and nats-py hands it on in small letters."""
        return re.sub("|".join(self._secrets), "***", text, flags=re.IGNORECASE) if self._secrets else text
