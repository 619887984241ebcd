"""Deliver webhooks: `protoqueue worker workers:worker`. WEBHOOK_SIGNING_KEY signs each request."""

import hashlib
import hmac
import os
import urllib.error
import urllib.request
from typing import Any

from pydantic import BaseModel

import protoqueue

GONE = 410


class Event(BaseModel):
    """Something that happened at a customer's, numbered per customer, and where the customer wants to hear of it."""

    url: str
    customer: str
    number: int
    data: dict[str, Any] = {}


worker = protoqueue.Worker("default/webhooks", group="senders")


@worker.handler(timeout=15)
def deliver(event: Event, task: protoqueue.Task) -> None:
    """Post one event. While a customer's endpoint fails, later events of that customer wait behind this one."""
    try:
        with urllib.request.urlopen(request(event, task.id, signing_key()), timeout=10):
            return
    except urllib.error.HTTPError as error:
        if error.code == GONE:
            raise protoqueue.Reject("the customer has given up this endpoint") from error
        raise


def request(event: Event, task_id: str, key: bytes) -> urllib.request.Request:
    """Signed, so that the receiver knows us; with the task's id, so that it can tell a repetition."""
    body = event.model_dump_json(exclude={"url"}).encode()
    headers = {
        "Content-Type": "application/json",
        "Webhook-Id": task_id,
        "Webhook-Signature": sign(body, key),
    }
    return urllib.request.Request(event.url, body, headers, method="POST")


def sign(body: bytes, key: bytes) -> str:
    return hmac.new(key, body, hashlib.sha256).hexdigest()


def signing_key() -> bytes:
    return os.environ["WEBHOOK_SIGNING_KEY"].encode()
