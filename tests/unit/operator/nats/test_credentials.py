from collections.abc import Mapping
from pathlib import Path

import pytest

from protoqueue_operator.api.v1alpha1.errors import SecretInvalid
from protoqueue_operator.nats.credentials import SECRET_SCHEMES, parse_credentials
from protoqueue_operator.nats.mounted import MountedCredentials

FULL = {"url": "tls://u:hidden@a:4222, nats://b:4222", "user": "jo", "password": "hidden", "ca.crt": "CA"}


def test_a_secret_names_servers_and_one_way_to_authenticate() -> None:
    credentials = parse_credentials(FULL, "it")
    assert credentials.servers == ("tls://u:hidden@a:4222", "nats://b:4222")
    assert (credentials.user, credentials.password, credentials.ca) == ("jo", "hidden", "CA")


def test_nothing_that_may_be_shown_holds_a_secret() -> None:
    credentials = parse_credentials(FULL, "it")
    assert credentials.where == "tls://a:4222, nats://b:4222"
    assert "hidden" not in repr(credentials)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "has no key url"),
        ({"url": "nats://a", "creds": "hidden", "token": "hidden"}, "has creds and token: keep one"),
        ({"url": "nats://a", "user": "hidden"}, "user and password together"),
        ({"url": "nats://jo:hid/den@a:4222"}, "not a NATS server address"),
        ({"url": "nats://a", "tls.crt": "hidden"}, "tls.crt and tls.key together"),
    ],
)
def test_what_is_missing_or_too_much_is_named_without_its_value(values: Mapping[str, str], message: str) -> None:
    with pytest.raises(SecretInvalid, match=message) as raised:
        parse_credentials(values, "the Secret account")
    assert "hidden" not in str(raised.value)


def test_equal_content_is_one_connection() -> None:
    assert parse_credentials(FULL, "one") == parse_credentials(FULL, "another")
    assert parse_credentials(FULL, "one") != parse_credentials(FULL | {"password": "x"}, "one")


def test_the_operators_own_credentials_come_from_files_named_in_its_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t\n")
    (tmp_path / "ca.crt").write_text("CA")
    credentials = MountedCredentials("nats://a", {"PROTOQUEUE_NATS_SECRET_DIR": str(tmp_path)}).read()
    assert (credentials.token, credentials.ca, credentials.creds) == ("t", "CA", "")
    single = MountedCredentials("nats://a", {"PROTOQUEUE_NATS_CREDS": str(tmp_path / "token")}).read()
    assert (single.creds, single.token) == ("t\n", "")


def test_a_mounted_url_is_followed_where_it_is_the_one_given(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("nats://a\n")
    directory = {"PROTOQUEUE_NATS_SECRET_DIR": str(tmp_path)}
    from_it, another = MountedCredentials("nats://a", directory), MountedCredentials("nats://given", directory)
    (tmp_path / "url").write_text("nats://b\n")
    assert from_it.read().servers == ("nats://b",)
    assert another.read().servers == ("nats://given",)


def test_files_are_read_as_they_are_now(tmp_path: Path) -> None:
    mounted = MountedCredentials("nats://a", {"PROTOQUEUE_NATS_SECRET_DIR": str(tmp_path)})
    assert mounted.read().nkey == ""
    (tmp_path / "nkey").write_text("SU\n")
    assert mounted.read().nkey == "SU"


@pytest.mark.parametrize("url", ["ws://a", "nats://a,wss://b"])
def test_over_http_a_secret_leads_nowhere_and_the_operator_itself_may_go(url: str) -> None:
    with pytest.raises(SecretInvalid, match="scheme of the url must be nats or tls"):
        parse_credentials({"url": url}, "the Secret account", SECRET_SCHEMES)
    assert parse_credentials({"url": url}, "the operator's own").servers


@pytest.mark.parametrize(
    ("values", "prefix"),
    [
        ({}, "_INBOX"),
        ({"token": "hidden"}, "_INBOX"),
        ({"url": "nats://hidden@a"}, "_INBOX"),
        ({"url": "nats://jo:pw@a"}, "_INBOX_jo"),
        ({"url": "nats://j%40o:pw@a"}, "_INBOX_j_o"),
        ({"user": "jo.*.>", "password": "x"}, "_INBOX_jo____"),
        ({"user": "jo", "password": "x", "inboxPrefix": "_INBOX.acme\n"}, "_INBOX.acme"),
    ],
)
def test_inboxes_are_a_users_own_unless_stated(values: Mapping[str, str], prefix: str) -> None:
    assert parse_credentials({"url": "nats://a"} | values, "it").inboxes == prefix


@pytest.mark.parametrize("prefix", ["a.>", "*", "a b", "a..b", ".a"])
def test_an_inbox_prefix_that_is_no_subject_is_refused(prefix: str) -> None:
    with pytest.raises(SecretInvalid, match="inboxPrefix"):
        parse_credentials({"url": "nats://a", "inboxPrefix": prefix}, "it")
