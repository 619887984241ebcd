"""Receipts: a task's token, signed, so that any replica accepts it and none can be forged. Pure."""

import base64
import binascii
import hashlib
import hmac

from protoqueue_gateway.service.errors import InvalidReceipt

_MAC_BYTES = 16


class Receipts:
    """Signs with `key`, which all replicas share."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, queue: str, token: str) -> str:
        data = token.encode()
        return base64.urlsafe_b64encode(self._mac(queue, data) + data).decode().rstrip("=")

    def verify(self, queue: str, receipt: str) -> str:
        """The token; raises InvalidReceipt for what `sign` has not made for this queue."""
        try:
            raw = base64.urlsafe_b64decode(receipt + "=" * (-len(receipt) % 4))
        except (binascii.Error, ValueError):
            raise InvalidReceipt("this is not a receipt") from None
        mac, data = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not data or not hmac.compare_digest(mac, self._mac(queue, data)):
            raise InvalidReceipt(f"this is not a receipt of queue {queue}")
        return data.decode()

    def _mac(self, queue: str, data: bytes) -> bytes:
        return hmac.digest(self._key, queue.encode() + b"\0" + data, hashlib.sha256)[:_MAC_BYTES]
