"""The API key with which a person who has just started a cluster reaches its gateway."""

import base64
import hashlib
import json
import os
import secrets
from pathlib import Path

from protoqueue_devcluster.kube.client import SECRETS, ApiError, KubeClient, Object

KEY_FILE = "api-key"
_NAMESPACE = "default"
_NAME = "protoqueue-first-key"
_ID = "first"


async def first_key(client: KubeClient, directory: Path) -> str:
    """The key that may do everything: the one of an earlier start, else a new one.

    Its text is kept in a file of the cluster's directory that its owner alone may read: the Secret has its digest only.
    """
    key = _kept(directory / KEY_FILE)
    entry = {
        "sha256": hashlib.sha256(key.split("_", 2)[2].encode()).hexdigest(),
        "name": "made by protoqueue up",
        "allow": [{"queues": "*", "actions": ["admin"]}],
    }
    secret: Object = {
        "metadata": {"name": _NAME, "namespace": _NAMESPACE, "labels": {"protoqueue.dev/api-keys": "true"}},
        "data": {_ID: base64.b64encode(json.dumps(entry).encode()).decode()},
    }
    try:
        await client.create(SECRETS, secret, _NAMESPACE)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
        await client.merge(SECRETS, {"data": secret["data"]}, _NAME, _NAMESPACE)
    return key


def _kept(file: Path) -> str:
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        key = f"pq_{_ID}_{secrets.token_urlsafe(32)}"
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            opened.write(f"{key}\n")
        return key
