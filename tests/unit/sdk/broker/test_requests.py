"""Requests that the server refuses."""

import pytest

from protoqueue.broker.direct_client import DirectClient
from protoqueue.broker.requests import Requests
from protoqueue.errors import PermissionDenied


async def test_what_is_remembered_of_refused_subjects_does_not_grow() -> None:
    requests = Requests(DirectClient())
    for number in range(5000):
        requests._refuse(f"pq.default.email.scheduled.{number}")
    assert len(requests._refused) <= 1000
    with pytest.raises(PermissionDenied):  # the last one is not asked for again
        await requests.attempt("pq.default.email.scheduled.4999", b"", None, 1)
