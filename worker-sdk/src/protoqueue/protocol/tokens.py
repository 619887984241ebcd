"""What may stand as a token of a subject, and as a part of a key or a message id."""

import hashlib
import re

_TOKEN = re.compile(r"[-/_=a-zA-Z0-9]+")
_MAX_LENGTH = 128


def is_token(text: str) -> bool:
    """Whether `text` can stand as one token of a subject and of a key, which the server reads up to some length."""
    return len(text) <= _MAX_LENGTH and _TOKEN.fullmatch(text) is not None


def token_of(task_id: str) -> str:
    """The id where it is a token, else a digest of it."""
    return task_id if is_token(task_id) else digest_of(task_id)


def bounded(task_id: str) -> str:
    """The id as a part of a message id: another producer's may be of any length and hold line breaks."""
    return task_id if len(task_id) <= _MAX_LENGTH and task_id.isprintable() else digest_of(task_id)


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
