import pytest

from protoqueue_operator.api.v1alpha1.errors import BrokerRefused, QuotaExceeded
from protoqueue_operator.jetstream.errors import refused


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (10074, BrokerRefused, "spec.replicas: NATS has fewer servers"),
        (10005, BrokerRefused, "spec.replicas: NATS has fewer servers"),
        (10027, QuotaExceeded, "max_streams"),
        (10026, QuotaExceeded, "max_consumers"),
        (10047, QuotaExceeded, "max_file"),
        (10122, QuotaExceeded, "spec.limits.maxBytes"),
        (10189, BrokerRefused, "cron: must be six fields, seconds first"),
        (10223, BrokerRefused, "timeZone: must be a name of the IANA database"),
        (10065, BrokerRefused, "another stream of the account takes what is this queue's"),
        (10100, BrokerRefused, "a consumer that was not made by ProtoQueue takes tasks of this queue"),
        (10999, BrokerRefused, "JetStream refused: as the server says it"),
        (None, BrokerRefused, "JetStream refused: as the server says it"),
    ],
)
def test_a_refusal_names_the_field_or_the_limit_that_stands_in_the_way(
    code: int | None, kind: type[BrokerRefused], words: str
) -> None:
    error = refused(code, "as the server says it")
    assert type(error) is kind
    assert words in str(error)
    assert "as the server says it" in str(error)
