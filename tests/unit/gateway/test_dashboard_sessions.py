"""Sessions and forms of the dashboard, and how it writes numbers and times."""

import base64
from datetime import UTC, datetime, timedelta

import pytest

from protoqueue_gateway.auth.keys import Action, Key, Permission
from protoqueue_gateway.dashboard import formats
from protoqueue_gateway.dashboard.sessions import IDLE_S, LONGEST_S, RENEW_S, Signer, new_session
from protoqueue_gateway.service.rates import Rate

KEY = Key("abc", "test", "0123456789abcdef" * 4, (Permission(("*",), frozenset(Action)),))
NOW = 1_800_000_000.0


def test_a_session_is_known_to_whoever_signs_with_the_same_key() -> None:
    session = new_session(KEY, NOW)
    cookie = Signer(b"shared" * 8).sign(session)
    assert Signer(b"shared" * 8).read(cookie, NOW + 1) == session
    assert Signer(b"another" * 8).read(cookie, NOW + 1) is None
    assert session.is_of(KEY)
    assert not session.is_of(Key("abc", "made anew", "f" * 64, ()))
    assert not session.is_of(Key("abd", "test", KEY.sha256, ()))


def test_a_session_that_is_not_used_ends_and_one_that_is_used_ends_too() -> None:
    signer, session = Signer(b"key"), new_session(KEY, NOW)
    cookie = signer.sign(session)
    assert signer.read(cookie, NOW + IDLE_S) == session
    assert signer.read(cookie, NOW + IDLE_S + 1) is None
    assert session.renewed(NOW + RENEW_S) is None
    at = NOW
    while at < NOW + 2 * LONGEST_S:
        at += IDLE_S - 1
        found = signer.read(cookie, at)
        if found is None:
            break
        assert found.id == session.id
        cookie = signer.sign(found.renewed(at) or found)
    assert LONGEST_S - IDLE_S < at - NOW < LONGEST_S + IDLE_S


@pytest.mark.parametrize("cookie", ["", ".", "a.b", "é.é", "W10.", "===.==="])
def test_what_was_not_signed_is_no_session(cookie: str) -> None:
    assert Signer(b"key").read(cookie, NOW) is None


def test_the_token_of_a_form_belongs_to_its_session_and_is_not_a_signature_of_anything_else() -> None:
    signer = Signer(b"key")
    token = signer.form_token("one")
    assert signer.is_form_token("one", token)
    for session_id, given in (("two", token), ("one", ""), ("one", token[:-1]), ("one", "ü")):
        assert not signer.is_form_token(session_id, given)
    session = new_session(KEY, NOW)
    assert signer.form_token(session.id) not in signer.sign(session)
    data, _, signature = signer.sign(session).partition(".")
    signed = base64.urlsafe_b64decode(data + "=" * (-len(data) % 4)).decode()
    assert signer.form_token(signed) != signature, "a token, got for a chosen id, would be a session"


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (timedelta(0), "0s"),
        (timedelta(seconds=59), "59s"),
        (timedelta(seconds=60), "1m"),
        (timedelta(minutes=3, seconds=20), "3m 20s"),
        (timedelta(hours=2, minutes=5, seconds=9), "2h 5m"),
        (timedelta(days=40), "40d"),
        (timedelta(seconds=-90), "in 1m 30s"),
    ],
)
def test_an_age_is_written_in_its_two_largest_units(ago: timedelta, text: str) -> None:
    now = datetime(2026, 11, 30, tzinfo=UTC)
    assert formats.age(now - ago, now) == text


def test_a_rate_is_the_mean_of_ten_seconds_and_falls_when_nothing_comes() -> None:
    rate = Rate()
    assert rate.look(0, 100) is None
    assert rate.look(1, 110) == 10
    assert rate.look(2, 110) == 5
    assert rate.look(11, 110) == pytest.approx(0, abs=1)
    assert rate.look(12.5, 110) == 0
    assert rate.look(13, 5) is None
    assert rate.look(14, 7) == 2
