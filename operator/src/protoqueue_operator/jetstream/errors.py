"""What JetStream's error codes mean for a resource's author."""

from protoqueue_operator.api.v1alpha1.errors import BrokerRefused, QuotaExceeded

_TOO_FEW_SERVERS = (10005, 10074)
_LIMITS = {
    10002: "what the account may store (max_file, max_mem)",
    10026: "how many consumers a stream of the account may have (max_consumers)",
    10027: "how many streams the account may have (max_streams)",
    10028: "the memory of the account or the server (max_mem)",
    10047: "the storage of the account or the server (max_file), of which spec.limits.maxBytes and "
    "spec.history.maxBytes set their size aside",
    10122: "the size of a stream of the account (max_stream_bytes): spec.limits.maxBytes",
}
"""As in the server's configuration."""
_OVERLAPPING = 10065
_CONSUMED_BY_ANOTHER = 10100
_SCHEDULES = {
    10189: ("cron", "must be six fields, seconds first, such as 0 0 3 * * *, and match some date"),
    10223: ("timeZone", "must be a name of the IANA database that NATS knows, such as Europe/Berlin"),
}
"""Of one schedule, the field and what it must be."""


def refused(code: int | None, text: str) -> BrokerRefused:
    """The error to raise, whose message names the Queue's field, or the limit of NATS, that is the cause."""
    if code in _TOO_FEW_SERVERS:
        return BrokerRefused(f"NATS has fewer servers; set 1, or add servers. JetStream: {text}", field="spec.replicas")
    if code in _LIMITS:
        return QuotaExceeded(f"a limit of NATS is reached, {_LIMITS[code]}. JetStream: {text}")
    if code == _OVERLAPPING:
        return BrokerRefused(
            "another stream of the account takes what is this queue's, subjects that begin with pq. or pqdlq., its "
            f"namespace and its name: change that stream's subjects, or remove it. JetStream: {text}"
        )
    if code == _CONSUMED_BY_ANOTHER:
        return BrokerRefused(
            "a consumer that was not made by ProtoQueue takes tasks of this queue, each of which can have one taker: "
            f"remove it from the stream. JetStream: {text}"
        )
    if code in _SCHEDULES:
        field, must = _SCHEDULES[code]
        return BrokerRefused(f"{must}. JetStream: {text}", field=field)
    return BrokerRefused(f"JetStream refused: {text}")
