"""`protoqueue keys`: API keys of the gateway, entries of a Secret, which does not hold the secret part of a key."""

import base64
import binascii
import hashlib
import json
import secrets
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from protoqueue.cli.failure import fail
from protoqueue.cli.output import Format, Output, print_data, print_fields, print_table
from protoqueue.cli.values import duration_or_moment

SECRET = "protoqueue-api-keys"  # noqa: S105  # its name
LABEL = "protoqueue.dev/api-keys"
ACTIONS = ("enqueue", "consume", "read", "manage", "admin")

app = typer.Typer(help="API keys of the HTTP gateway.", no_args_is_help=True)


def register(whole: typer.Typer) -> None:
    whole.add_typer(app, name="keys")


Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Namespace in which the gateway runs.")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    queues: Annotated[
        list[str], typer.Option("--queues", "-q", help="Pattern of namespace/name, such as 'shop/*'. Repeatable.")
    ] = ["*"],  # noqa: B006  # typer copies it
    allow: Annotated[
        list[str], typer.Option("--allow", "-a", help=f"One of {', '.join(ACTIONS)}. Repeatable, or with commas.")
    ] = ["enqueue", "consume", "read"],  # noqa: B006
    expires: Annotated[str | None, typer.Option("--expires", help="When: 90d, or a time. Absent: never.")] = None,
    namespace: Namespace = "protoqueue",
    output: Output = Format.TABLE,
) -> None:
    """Make a key and show it, this once. Gateways take it within ten seconds. Needs kubectl."""
    actions = [action.strip() for text in allow for action in text.split(",") if action.strip()]
    if wrong := [action for action in actions if action not in ACTIONS]:
        fail(f"--allow: {wrong[0]!r} is not one of {', '.join(ACTIONS)}")
    if any(not pattern or (pattern != "*" and "/" not in pattern) for pattern in queues):
        fail("--queues: write patterns of namespace/name, such as 'shop/*', or '*' for all")
    key_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    entry: dict[str, Any] = {
        "sha256": hashlib.sha256(secret.encode()).hexdigest(), "name": name,
        "allow": [{"queues": queues, "actions": actions}], "expires": _moment(expires),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip
    _store(key_id, entry, namespace)
    key = f"pq_{key_id}_{secret}"
    if output is not Format.TABLE:
        print_data(
            {"id": key_id, "key": key, "name": name, "allow": entry["allow"], "expires": entry["expires"]}, output
        )
        return
    print_fields([("id", key_id), ("key", key)])
    typer.echo("The key is shown this once: keep it.", err=True)


@app.command("list")
def list_keys(namespace: Namespace = "protoqueue", output: Output = Format.TABLE) -> None:
    """Show the keys there are; what they consist of is known to their holders only. Needs kubectl."""
    keys = [
        {"id": key_id, "name": entry.get("name", ""), "allow": entry.get("allow", []), "expires": entry.get("expires")}
        for _, key_id, entry in _entries(namespace)
    ]
    if output is not Format.TABLE:
        print_data(keys, output)
        return
    rows = [[key["id"], key["name"], *_allowed(key["allow"]), key["expires"] or "never"] for key in keys]
    print_table(["ID", "NAME", "QUEUES", "ACTIONS", "EXPIRES"], rows, nothing="There are no keys.")


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key, as `keys list` shows it.")],
    namespace: Namespace = "protoqueue",
    output: Output = Format.TABLE,
) -> None:
    """Let a key be refused from now on, at the latest within ten seconds. Needs kubectl."""
    holders = [secret for secret, each, _ in _entries(namespace) if each == key_id]
    if not holders:
        fail(f"there is no key {key_id} in namespace {namespace}")
    for secret in holders:
        _patch(secret, {key_id: None}, namespace)
    if output is not Format.TABLE:
        print_data({"id": key_id, "revoked": True}, output)
    else:
        typer.echo(f"revoked {key_id}")


def _store(key_id: str, entry: dict[str, Any], namespace: str) -> None:
    """In the Secret, which the first key makes; of two that make it one is refused, and adds to the other's."""
    data = {key_id: base64.b64encode(json.dumps(entry).encode()).decode()}
    if any(secret["metadata"]["name"] == SECRET for secret in _secrets(namespace)):
        _patch(SECRET, data, namespace)
        return
    body = {
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": SECRET, "namespace": namespace, "labels": {LABEL: "true"}}, "data": data,
    }  # fmt: skip
    try:
        _kubectl("create", "-f", "-", given=json.dumps(body))
    except _Refused as error:
        if "AlreadyExists" not in str(error):
            fail(str(error))
        _patch(SECRET, data, namespace)


def _patch(secret: str, data: Mapping[str, str | None], namespace: str) -> None:
    try:
        _kubectl("patch", "secret", secret, "-n", namespace, "--type", "merge", "-p", json.dumps({"data": data}))
    except _Refused as error:
        fail(str(error))


def _secrets(namespace: str) -> list[dict[str, Any]]:
    try:
        answer = json.loads(_kubectl("get", "secrets", "-n", namespace, "-l", f"{LABEL}=true", "-o", "json"))
    except _Refused as error:
        fail(str(error))
    items: list[dict[str, Any]] = answer["items"]
    return items


def _entries(namespace: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Secret, id and entry of each key; what is not a key is shown as one without a name."""
    found = []
    for secret in _secrets(namespace):
        for key_id, text in sorted((secret.get("data") or {}).items()):
            try:
                entry = json.loads(base64.b64decode(text))
            except (binascii.Error, ValueError):
                entry = {}
            found.append((secret["metadata"]["name"], key_id, entry if isinstance(entry, dict) else {}))
    return found


def _allowed(allow: Any) -> tuple[str, str]:
    permissions = [each for each in allow if isinstance(each, dict)] if isinstance(allow, list) else []
    queues = ("|".join(map(str, each.get("queues", []))) for each in permissions)
    actions = ("|".join(map(str, each.get("actions", []))) for each in permissions)
    return ", ".join(queues), ", ".join(actions)


def _moment(text: str | None) -> str | None:
    if text is None:
        return None
    when = duration_or_moment("--expires", text)
    if not isinstance(when, datetime):
        when = datetime.now(UTC) + (when if isinstance(when, timedelta) else timedelta(seconds=when))
    return when.isoformat(timespec="seconds")


class _Refused(Exception):
    """What kubectl says."""


def _kubectl(*arguments: str, given: str | None = None) -> str:
    try:
        done = subprocess.run(["kubectl", *arguments], input=given, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        fail("kubectl is not on PATH: keys are entries of Secrets, which it reads and writes")
    if done.returncode:
        raise _Refused(done.stderr.strip() or f"kubectl ended with status {done.returncode}")
    return done.stdout
