"""Every way to be let in by a NATS server: the server, and the keys of the connection Secret that open it."""

import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import nkeys
import trustme
from nats.aio.client import RawCredentials

from nats_accounts import Accounts, public, seed
from nats_server import NatsServer
from ports import free_port


@dataclass(frozen=True)
class Door:
    """`hidden` is what must be read nowhere but in the Secret."""

    server: NatsServer
    secret: dict[str, str]
    hidden: tuple[str, ...] = field(default=())


def creds(directory: Path) -> Door:
    accounts = Accounts("ACME")
    text = accounts.creds("ACME")
    server = NatsServer(directory, accounts.settings, access={"user_credentials": RawCredentials(text)})
    jwt, own_seed = (line for line in text.splitlines() if line and "-" * 5 not in line)
    return Door(server, {"url": server.url, "creds": text}, (jwt, own_seed))


def nkey(directory: Path) -> Door:
    own_seed = seed(nkeys.PREFIX_BYTE_USER)
    settings = f"authorization {{ users: [{{nkey: {public(nkeys.from_seed(own_seed))}}}] }}"
    server = NatsServer(directory, settings, access={"nkeys_seed_str": own_seed.decode()})
    return Door(server, {"url": server.url, "nkey": own_seed.decode()}, (own_seed.decode(),))


def token(directory: Path) -> Door:
    word = password()
    server = NatsServer(directory, f"authorization {{ token: {word} }}", access={"token": word})
    return Door(server, {"url": server.url, "token": word}, (word,))


def user(directory: Path) -> Door:
    word = password()
    server = NatsServer(directory, users(jo=word), login=f"jo:{word}@")
    return Door(server, {"url": server.url, "user": "jo", "password": word}, (word,))


def url(directory: Path) -> Door:
    door = user(directory)
    address = door.server.url.replace("//", f"//{door.server.login}")
    return Door(door.server, {"url": address}, door.hidden)


def encoded_url(directory: Path) -> Door:
    """The password has characters that mean something else in a URL, and one that no URL may hold."""
    stem = password()
    word = f"{stem}@:/?#,%40+ \u00e9"
    server = NatsServer(directory, users(jo=word), access={"user": "jo", "password": word})
    return Door(server, {"url": server.url.replace("//", f"//jo:{quote(word, safe='')}@")}, (stem,))


def several(directory: Path) -> Door:
    """Two of the three servers that are named do not exist, one of them the first."""
    door = user(directory)
    dead, dead_too = (f"nats://127.0.0.1:{free_port()}" for _ in range(2))
    return Door(door.server, door.secret | {"url": f"{dead}, {door.server.url},{dead_too}"}, door.hidden)


def tls(directory: Path) -> Door:
    return _encrypted(directory, client=False)


def mutual_tls(directory: Path) -> Door:
    return _encrypted(directory, client=True)


def tls_with_password(directory: Path) -> Door:
    """What the page on production sets up: a certificate that names localhost, a user and a password."""
    word = f"{password()}@"
    door = _encrypted(directory, client=False, settings=users(queues=word), access={"user": "queues", "password": word})
    return Door(door.server, door.secret | {"user": "queues", "password": word}, (word,))


DOORS: dict[str, Callable[[Path], Door]] = {
    made.__name__: made for made in (creds, nkey, token, user, url, encoded_url, several, tls, mutual_tls)
}


def users(**passwords: str) -> str:
    """A server's settings that let these in."""
    listed = ", ".join(f'{{user: {name}, password: "{word}"}}' for name, word in passwords.items())
    return f"authorization {{ users: [{listed}] }}"


def password() -> str:
    """Easily recognised, and never the same."""
    return f"pl4nted{secrets.token_hex(8)}"


def _encrypted(directory: Path, *, client: bool, settings: str = "", access: dict[str, str] | None = None) -> Door:
    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    ca = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    pem = directory / "server.pem"
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(str(pem))
    context = ssl.create_default_context(cafile=ca)
    secret = {"ca.crt": authority.cert_pem.bytes().decode()}
    hidden: tuple[str, ...] = ()
    if client:
        issued = authority.issue_cert("jo@acme.example")
        issued.configure_cert(context)
        key = issued.private_key_pem.bytes().decode()
        secret |= {"tls.crt": issued.cert_chain_pems[0].bytes().decode(), "tls.key": key}
        hidden = (key.splitlines()[1],)
    tls = f'tls {{ cert_file: "{pem}", key_file: "{pem}", ca_file: "{ca}", verify: {str(client).lower()} }}'
    server = NatsServer(directory / "nats", f"{tls}\n{settings}", tls=context, access=access)
    return Door(server, {"url": server.url, **secret}, hidden)
