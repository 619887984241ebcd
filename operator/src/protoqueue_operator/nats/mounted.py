"""The operator's own NATS connection, from its command line and the files of a mounted Secret."""

from collections.abc import Mapping
from pathlib import Path

from protoqueue_operator.api.v1alpha1.errors import SecretInvalid
from protoqueue_operator.nats.credentials import SECRET_KEYS, Credentials, parse_credentials

_SOURCE = "the operator's NATS connection"


class MountedCredentials:
    """Read again each time.

    PROTOQUEUE_NATS_SECRET_DIR names a directory with the files a connection Secret has as keys (a mounted Secret);
    PROTOQUEUE_NATS_CREDS and PROTOQUEUE_NATS_CA name single files, which have to be there.
    """

    def __init__(self, url: str, environment: Mapping[str, str]) -> None:
        """Where the directory's own `url` is the one given, it is followed too; else the one given holds."""
        directory = environment.get("PROTOQUEUE_NATS_SECRET_DIR")
        self._mounted = {key: Path(directory, key) for key in SECRET_KEYS} if directory else {}
        single = {"creds": "PROTOQUEUE_NATS_CREDS", "ca.crt": "PROTOQUEUE_NATS_CA"}
        self._single = {key: Path(path) for key, name in single.items() if (path := environment.get(name))}
        self._given = {} if self._read_mounted().get("url", "").strip() == url.strip() else {"url": url}

    def read(self) -> Credentials:
        """The current settings. Raises SecretInvalid and OSError."""
        single = {key: _text(path) for key, path in self._single.items()}
        return parse_credentials(self._read_mounted() | single | self._given, _SOURCE)

    def _read_mounted(self) -> dict[str, str]:
        return {key: _text(path) for key, path in self._mounted.items() if path.is_file()}


def _text(path: Path) -> str:
    """Raises SecretInvalid and OSError."""
    try:
        return path.read_text()
    except UnicodeDecodeError:
        raise SecretInvalid(f"{_SOURCE}: {path} is not text") from None
