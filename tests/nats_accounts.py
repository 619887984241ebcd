"""An operator of NATS, its accounts and their users, as signed JWTs: what `nsc` makes."""

import base64
import hashlib
import json
import time
from typing import Any

import nkeys
from nacl.signing import SigningKey

NO_LIMIT = -1


def key_pair(prefix: int) -> nkeys.KeyPair:
    return nkeys.from_seed(seed(prefix))


def seed(prefix: int) -> bytes:
    made: bytes = nkeys.encode_seed(bytes(SigningKey.generate()), prefix)
    return made


def public(key: nkeys.KeyPair) -> str:
    text: bytes = key.public_key
    return text.decode()


class Accounts:
    """One operator; `settings` is what its server is configured with, once all accounts are made."""

    def __init__(self, *names: str) -> None:
        self._operator = key_pair(nkeys.PREFIX_BYTE_OPERATOR)
        self._keys = {name: key_pair(nkeys.PREFIX_BYTE_ACCOUNT) for name in ("SYS", *names)}

    @property
    def settings(self) -> str:
        system = public(self._keys["SYS"])
        preload = "\n".join(f"{public(key)}: {self._account(name)}" for name, key in self._keys.items())
        operator = self._sign(self._operator, public(self._operator), "O", {"type": "operator"})
        return f"operator: {operator}\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload: {{\n{preload}\n}}"

    def creds(self, account: str, lasts_s: float | None = None) -> str:
        """The text of a credentials file of a new user."""
        own_seed = seed(nkeys.PREFIX_BYTE_USER)
        limits = {"type": "user", "subs": NO_LIMIT, "data": NO_LIMIT, "payload": NO_LIMIT}
        user = public(nkeys.from_seed(own_seed))
        jwt = self._sign(self._keys[account], user, "user", limits, lasts_s)
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{own_seed.decode()}\n------END USER NKEY SEED------\n"
        )

    def _account(self, name: str) -> str:
        counted = ("subs", "data", "payload", "imports", "exports", "conn", "leaf")
        stored = () if name == "SYS" else ("mem_storage", "disk_storage", "streams", "consumer")
        limits = dict.fromkeys((*counted, *stored), NO_LIMIT) | {"wildcards": True}
        return self._sign(self._operator, public(self._keys[name]), name, {"type": "account", "limits": limits})

    def _sign(
        self, signer: nkeys.KeyPair, subject: str, name: str, about: dict[str, Any], lasts_s: float | None = None
    ) -> str:
        now = int(time.time())
        claims = {"iat": now, "iss": public(signer), "name": name, "sub": subject, "nats": {"version": 2, **about}}
        if lasts_s is not None:
            claims["exp"] = int(time.time() + lasts_s)
        claims["jti"] = base64.b32encode(hashlib.sha256(json.dumps(claims).encode()).digest()).decode().rstrip("=")
        body = f"{_encode({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_encode(claims)}"
        return f"{body}.{_base64(signer.sign(body.encode()))}"


def _encode(part: dict[str, Any]) -> str:
    return _base64(json.dumps(part, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
