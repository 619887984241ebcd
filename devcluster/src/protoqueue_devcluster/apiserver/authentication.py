"""TLS and tokens: client-go sends tokens over TLS only, and without them any web page could start processes here."""

import base64
import hmac
import os
import secrets
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

import trustme
import yaml

CLUSTER = "protoqueue"
OPEN_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version"})


@dataclass(frozen=True)
class Credentials:
    """A self-made authority, a server context signed by it, and the token clients show."""

    authority: bytes
    context: ssl.SSLContext
    token: str

    def accepts(self, authorization: str) -> bool:
        """Whether an Authorization header carries the token."""
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), self.token.encode())


def make_credentials(*hosts: str) -> Credentials:
    """New credentials for a server reached under these names and addresses."""
    authority = trustme.CA(organization_name="ProtoQueue devcluster")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    authority.issue_cert(*hosts).configure_cert(context)
    return Credentials(authority.cert_pem.bytes(), context, secrets.token_urlsafe(32))


def write_kubeconfig(path: Path, url: str, credentials: Credentials) -> None:
    """Write the file clients need, readable by its owner only and complete from the first moment."""
    authority = base64.b64encode(credentials.authority).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CLUSTER, "cluster": {"server": url, "certificate-authority-data": authority}}],
        "users": [{"name": CLUSTER, "user": {"token": credentials.token}}],
        "contexts": [{"name": CLUSTER, "context": {"cluster": CLUSTER, "user": CLUSTER, "namespace": "default"}}],
        "current-context": CLUSTER,
    }
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".kubeconfig-")  # mkstemp: mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yaml.safe_dump(config, file, sort_keys=False)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
