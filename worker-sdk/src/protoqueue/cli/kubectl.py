"""The user's own kubectl: Kubernetes is reached by nothing else."""

import json
import subprocess
from typing import Any

from protoqueue.cli.table import one_line

_TIMEOUT_S = 10
_LONGEST = 300


class KubectlFailed(Exception):
    """What kubectl said, on one line; or that there is none."""


class NotThere(KubectlFailed):
    """The API server has no such object."""


def get(*words: str) -> dict[str, Any]:
    """The object or list that `kubectl get` prints. Raises KubectlFailed."""
    return _answer("get", *words)


def create(manifest: dict[str, Any]) -> dict[str, Any]:
    """The object as the API server made it. Raises KubectlFailed."""
    return _answer("create", "-f", "-", given=json.dumps(manifest))


def _answer(*words: str, given: str | None = None) -> dict[str, Any]:
    command = ["kubectl", *words, "-o", "json", f"--request-timeout={_TIMEOUT_S}s"]
    try:
        done = subprocess.run(command, input=given, check=True, capture_output=True, text=True, timeout=4 * _TIMEOUT_S)
        found: dict[str, Any] = json.loads(done.stdout)
    except FileNotFoundError:
        raise KubectlFailed("kubectl not found on PATH") from None
    except subprocess.TimeoutExpired:
        raise KubectlFailed("kubectl: the API server does not answer") from None
    except subprocess.CalledProcessError as error:
        said = one_line(error.stderr.strip().rpartition("\n")[2], _LONGEST)
        raise (NotThere if "(NotFound)" in said else KubectlFailed)(f"kubectl: {said}") from None
    except ValueError as error:
        raise KubectlFailed(f"kubectl: {error}") from None
    return found


def run(*words: str) -> int:
    """Let kubectl print for itself; its exit status. Raises KubectlFailed where there is none."""
    try:
        return subprocess.run(["kubectl", *words], check=False).returncode
    except FileNotFoundError:
        raise KubectlFailed("kubectl not found on PATH") from None
