import base64
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from protoqueue_devcluster.kube.access import UnusableKubeconfig, read_access


def write(path: Path, cluster: dict[str, Any], user: dict[str, Any], context: str = "c") -> Path:
    config = {
        "current-context": context,
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://host:1/", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }
    (path / "config").write_text(yaml.safe_dump(config))
    return path / "config"


def encoded(blob: trustme.Blob) -> str:
    return base64.b64encode(blob.bytes()).decode()


def test_a_token_and_an_inline_authority_are_read(tmp_path: Path) -> None:
    authority = trustme.CA()
    kubeconfig = write(tmp_path, {"certificate-authority-data": encoded(authority.cert_pem)}, {"token": "t"})
    access = read_access(kubeconfig)
    assert (access.server, access.token) == ("https://host:1", "t")
    assert len(access.tls.get_ca_certs()) == 1


def test_client_certificates_are_read_inline_or_from_files_beside_the_kubeconfig(tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("me")
    (tmp_path / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    user = {"client-certificate-data": encoded(certificate.cert_chain_pems[0]), "client-key": "key.pem"}
    assert read_access(write(tmp_path, {}, user)).token is None


def test_a_token_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t\n")
    assert read_access(write(tmp_path, {}, {"tokenFile": "token"})).token == "t"


def test_verification_is_skipped_only_where_the_kubeconfig_says_so(tmp_path: Path) -> None:
    assert read_access(write(tmp_path, {}, {})).tls.verify_mode == ssl.CERT_REQUIRED
    assert read_access(write(tmp_path, {"insecure-skip-tls-verify": True}, {})).tls.verify_mode == ssl.CERT_NONE


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableKubeconfig, match="no entry 'other' among its contexts"):
        read_access(write(tmp_path, {}, {}, context="other"))
    with pytest.raises(UnusableKubeconfig, match="credential plugins are not supported"):
        read_access(write(tmp_path, {}, {"exec": {"command": "aws"}}))
