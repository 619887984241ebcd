"""Messages that one stream stores all together or not at all."""

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from protoqueue.broker.commands import encode_members
from protoqueue.broker.interface import Message as Message
from protoqueue.protocol.servers import one_line
from protoqueue_operator.api.v1alpha1.errors import BrokerUnavailable
from protoqueue_operator.jetstream.client import JetStream
from protoqueue_operator.jetstream.errors import refused

MOST = 1000
"""The most messages in a batch, by the server's default."""

_TIMEOUT_S = 10.0
_SLOW_BYTES_PER_S = 1_000_000

_DUPLICATE = 10201
_WRONG_SEQUENCE = (10071, 10164)
_TOO_LARGE = (10054, 10097)
_STORE_FAILED = 10077
_GIVEN_UP = (10176, 10210)


class NotStored(Exception):
    """The stream refused the batch and stored none of it."""


class Duplicate(NotStored):
    """The stream already has a message with the id of one of them."""


class WrongSequence(NotStored):
    """The last message on a subject is not the expected one."""


class TooLarge(NotStored):
    """One of them is larger than the stream accepts."""


class GivenUp(NotStored):
    """Some of them never arrived, or were refused silently, as one that is too large and not the first."""


class Full(NotStored):
    """The stream's limits leave no room for it."""


async def store(jetstream: JetStream, messages: Sequence[Message]) -> int:
    """Store all; returns the sequence of the last.

    Raises NotStored, BrokerRefused, and BrokerUnavailable, after which it is unknown whether they were stored.
    """
    batch, last = secrets.token_hex(11), len(messages)
    connection = jetstream.connection
    timeout_s = _TIMEOUT_S + sum(len(message.data) for message in messages) / _SLOW_BYTES_PER_S

    async def ask(number: int) -> bytes:
        message, headers = messages[number - 1], dict(messages[number - 1].headers)
        if last > 1:
            headers |= {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            if number == last:
                headers["Nats-Batch-Commit"] = "1"
        return (await connection.request(message.subject, message.data, timeout_s, headers)).data

    if last > 1:
        if answer := await ask(1):  # an empty one says: go on
            _sequence(answer)
        for chunk in encode_members(zip(range(2, last), messages[1:-1], strict=True), batch):
            await connection.send(chunk)
    return _sequence(await ask(last))


def _sequence(data: bytes) -> int:
    try:
        answer = json.loads(data)
        if not (error := answer.get("error")):
            sequence: int = answer["seq"]
            return sequence
        raise _refusal(error)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise BrokerUnavailable("NATS sends answers that are not JetStream's; retrying") from None


def _refusal(error: Mapping[str, Any]) -> Exception:
    code, text = error.get("err_code"), one_line(str(error.get("description")))
    if code == _DUPLICATE:
        return Duplicate(text)
    if code in _WRONG_SEQUENCE:
        return WrongSequence(text)
    if code in _TOO_LARGE:
        return TooLarge(text)
    if code in _GIVEN_UP:
        return GivenUp(text)
    if code == _STORE_FAILED and "maximum" in text:
        return Full(text)
    if error.get("code") in (503, 500, 408) or code == _STORE_FAILED:
        return BrokerUnavailable(f"JetStream: {text} ({code})")
    return refused(code, f"{text} ({code})")
