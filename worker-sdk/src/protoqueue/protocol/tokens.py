"""Which texts can be a token of a subject, or a part of a key or message id."""

import hashlib
import re

_TOKEN = re.compile(r"[-/_=a-zA-Z0-9]+")
_MAX_LENGTH = 128


def is_token(text: str) -> bool:
    """Whether `text` can be one token of a subject and of a key, whose length the server limits."""
    return len(text) <= _MAX_LENGTH and _TOKEN.fullmatch(text) is not None


def token_of(task_id: str) -> str:
    """The id if it is a token, else its digest."""
    return task_id if is_token(task_id) else digest_of(task_id)


def bounded(task_id: str) -> str:
    """The id as a part of a message id: another producer's may be of any length and hold line breaks."""
    return task_id if len(task_id) <= _MAX_LENGTH and task_id.isprintable() else digest_of(task_id)


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
