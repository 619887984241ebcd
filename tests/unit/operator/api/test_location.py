import pytest

from protoqueue_operator.api.v1alpha1.location import NatsLocation

HERE = NatsLocation(servers="nats://a:4222", account="ACME")


@pytest.mark.parametrize(
    ("other", "is_same", "may_be"),
    [
        (NatsLocation(servers="nats://a:4222", account="ACME", secret="another"), True, True),
        (NatsLocation(servers="nats://a:4222", account="OTHER"), False, False),
        (NatsLocation(servers="nats://b:4222", account="ACME"), False, False),
        (NatsLocation(servers="nats://a:4222"), False, True),
    ],
)
def test_an_account_that_no_server_names_is_neither_the_same_nor_another(
    other: NatsLocation, is_same: bool, may_be: bool
) -> None:
    assert (HERE.is_same_as(other), other.is_same_as(HERE)) == (is_same, is_same)
    assert (HERE.may_be(other), other.may_be(HERE)) == (may_be, may_be)
