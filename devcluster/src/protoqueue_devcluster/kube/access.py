"""Where an API server is and how to be let in, read from a kubeconfig."""

import base64
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class UnusableKubeconfig(Exception):
    """The kubeconfig names no usable server or credentials; the message says what is missing."""


@dataclass(frozen=True)
class Access:
    """One cluster as the current context sees it."""

    server: str
    tls: ssl.SSLContext
    token: str | None


def read_access(kubeconfig: Path) -> Access:
    """Read the current context: token or client certificate; raises UnusableKubeconfig for anything else."""
    document = yaml.safe_load(kubeconfig.read_text())
    context = _named(document, "contexts", "context", document.get("current-context"))
    cluster = _named(document, "clusters", "cluster", context.get("cluster"))
    user = _named(document, "users", "user", context.get("user"))
    if "exec" in user or "auth-provider" in user:
        raise UnusableKubeconfig(f"{kubeconfig}: credential plugins are not supported; use a token or a certificate")
    tls = ssl.create_default_context(cadata=_content(cluster, "certificate-authority", kubeconfig.parent))
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    _load_client_certificate(tls, user, kubeconfig.parent)
    token = user.get("token")
    if token is None and "tokenFile" in user:
        token = (kubeconfig.parent / user["tokenFile"]).read_text().strip()
    return Access(server=cluster["server"].rstrip("/"), tls=tls, token=token)


def _named(document: dict[str, Any], section: str, key: str, name: str | None) -> dict[str, Any]:
    for entry in document.get(section) or []:
        if entry.get("name") == name:
            return entry.get(key) or {}
    raise UnusableKubeconfig(f"the kubeconfig has no entry {name!r} among its {section}")


def _content(section: dict[str, str], key: str, base: Path) -> str | None:
    """PEM text given inline (`<key>-data`) or by a path relative to the kubeconfig."""
    if inline := section.get(f"{key}-data"):
        return base64.b64decode(inline).decode()
    if path := section.get(key):
        return (base / path).read_text()
    return None


def _load_client_certificate(tls: ssl.SSLContext, user: dict[str, Any], base: Path) -> None:
    certificate, key = _content(user, "client-certificate", base), _content(user, "client-key", base)
    if not certificate or not key:
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as pem:  # the ssl module reads certificates from files only
        pem.write(f"{certificate}\n{key}")
        pem.flush()
        tls.load_cert_chain(pem.name)
