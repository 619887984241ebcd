"""A connection that ends when it is closed, and for no other reason."""

from urllib.parse import ParseResult, unquote

from nats.aio.client import Client
from nats.errors import Error


class UnreadableCredentials(Error):
    """What is given as a key or as a credentials file is none."""

    def __str__(self) -> str:
        return "the credentials are no key, or no credentials file"


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


class LastingClient(Client):
    """nats-py's client gives up for good in two cases in which it is worth going on; this one goes on.

    The server says why before it ends a connection, as when the password was changed or a JWT has run out; and what is
    mounted as credentials may be no credentials for a moment. Both can heal while this process runs.
    """

    @staticmethod
    def _parse_server_uri(connect_url: str) -> ParseResult:
        # nats-py would send user, password and token as the URL spells them.
        return _Address(*Client._parse_server_uri(connect_url))  # noqa: SLF001

    async def close(self) -> None:
        """Close; what has not been flushed is not sent. Raises nothing where the connection is lost."""
        # nats-py would write what is pending to the connection that is lost, and fail over it half way.
        self._pending.clear()
        self._pending_data_size = 0
        await super().close()

    async def _process_err(self, err_msg: str) -> None:
        # After what it does not forgive the server hangs up, and that is what reconnecting begins with.
        self._err = Error(f"nats: {err_msg.strip()}")
        await self._error_cb(self._err)

    def _setup_nkeys_connect(self) -> None:
        try:
            super()._setup_nkeys_connect()
        except OSError:
            raise
        except Exception:  # whatever a key library makes of a text that is no key; it may quote the text
            raise UnreadableCredentials from None

    def _connect_command(self) -> bytes:
        try:
            return super()._connect_command()
        except OSError:
            raise
        except Exception:
            raise UnreadableCredentials from None
