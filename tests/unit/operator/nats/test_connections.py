from types import SimpleNamespace
from typing import Any

import pytest

from protoqueue_operator.nats.connection import Connection
from protoqueue_operator.nats.credentials import Credentials


class Answering(Connection):
    """Whatever is asked, somebody's NATS answers this."""

    def __init__(self, answer: bytes) -> None:
        super().__init__(Credentials(("nats://127.0.0.1:1",)), lambda _: None)
        self._answer = answer

    async def request(self, *_: object, **__: object) -> Any:
        return SimpleNamespace(data=self._answer)


@pytest.mark.parametrize(
    ("answer", "account"),
    [
        (b'{"data": {"account": "ACME"}}', "ACME"),
        (b'{"error": {"code": 400}}', ""),
        (b"[]", ""),
        (b'{"data": null}', ""),
        (b"?", ""),
        (b"[" * 100_000, ""),
    ],
)
async def test_a_server_that_does_not_tell_its_account_leaves_it_unknown(answer: bytes, account: str) -> None:
    assert await Answering(answer).account() == account
