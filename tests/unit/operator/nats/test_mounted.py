"""The files of a Secret that is mounted for the operator's own connection."""

from pathlib import Path

import pytest

from protoqueue_operator.api.v1alpha1.errors import SecretInvalid
from protoqueue_operator.nats.mounted import MountedCredentials


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "url").write_text("nats://a\n")
    return tmp_path


def mounted(directory: Path, url: str = "nats://a") -> MountedCredentials:
    return MountedCredentials(url, {"PROTOQUEUE_NATS_SECRET_DIR": str(directory)})


def test_its_url_is_followed_where_it_is_the_one_given(directory: Path) -> None:
    same, other = mounted(directory), mounted(directory, "nats://given")
    (directory / "url").write_text("nats://b")
    assert same.read().servers == ("nats://b",)
    assert other.read().servers == ("nats://given",)


def test_a_file_that_is_no_text_is_refused_by_its_name(directory: Path) -> None:
    credentials = mounted(directory)
    (directory / "ca.crt").write_bytes(b"\x30\x82\xff")
    with pytest.raises(SecretInvalid, match=r"ca\.crt is not text"):
        credentials.read()
