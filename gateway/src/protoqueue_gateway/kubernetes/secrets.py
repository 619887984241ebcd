"""Secrets of the gateway's own namespace."""

import base64
import binascii
import secrets
from collections.abc import Mapping

from protoqueue_gateway.kubernetes.client import SECRETS, Json, Kubernetes
from protoqueue_gateway.kubernetes.errors import ObjectExists, ObjectNotFound

KEYS_LABEL = "protoqueue.dev/api-keys"
_LABELS = {"app.kubernetes.io/name": "protoqueue-gateway"}
_RECEIPT_KEY = "key"
_KEY_BYTES = 32


async def read_key_entries(kubernetes: Kubernetes) -> Mapping[str, bytes]:
    """The entries of all Secrets that hold API keys, by id; of two of one id that of the first Secret by name."""
    entries: dict[str, bytes] = {}
    found = await kubernetes.objects(SECRETS, kubernetes.namespace, {KEYS_LABEL: "true"})
    for secret in sorted(found, key=_name, reverse=True):
        entries |= _data(secret)
    return entries


async def receipt_key(kubernetes: Kubernetes, name: str) -> bytes:
    """What receipts are signed with: that of the Secret, which the first gateway that needs it makes."""
    while True:
        try:
            key = _data(await kubernetes.get(SECRETS, name, kubernetes.namespace)).get(_RECEIPT_KEY, b"")
        except ObjectNotFound:
            pass
        else:
            if len(key) >= _KEY_BYTES:
                return key
            text = base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
            await kubernetes.merge(SECRETS, name, {"data": {_RECEIPT_KEY: text}}, kubernetes.namespace)
            continue
        body: Json = {
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": name, "namespace": kubernetes.namespace, "labels": dict(_LABELS)},
            "data": {_RECEIPT_KEY: base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()},
        }  # fmt: skip
        try:
            await kubernetes.create(SECRETS, body)
        except ObjectExists:  # another gateway was quicker
            continue


def _name(secret: Json) -> str:
    return str(secret["metadata"]["name"])


def _data(secret: Json) -> dict[str, bytes]:
    values: dict[str, bytes] = {}
    for name, text in (secret.get("data") or {}).items():
        try:
            values[name] = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            continue
    return values
