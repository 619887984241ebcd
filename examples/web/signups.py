"""What the web applications and the worker share: the task, and how it is enqueued."""

import functools

from pydantic import BaseModel

import protoqueue

QUEUE, GROUP = "default/signups", "welcomers"


class SignUp(BaseModel):
    """Somebody who is to be welcomed."""

    email: str
    plan: str = "free"


@functools.cache
def client() -> protoqueue.sync.Client:
    """One for the process, whatever its threads; made when it is first needed, so that a server may fork before."""
    return protoqueue.sync.connect()


def enqueue(signup: SignUp) -> protoqueue.Receipt:
    """Raises QueueFull and Unavailable. The same address within an hour is one task."""
    return client().queue(QUEUE).enqueue(signup, dedup_id=f"signup-{signup.email}")
