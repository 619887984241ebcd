"""What kopf is told, so that it does not give up."""

import itertools

from protoqueue_operator.handlers import EndlessBackoffs


def test_an_api_server_that_is_away_is_asked_again_without_an_end_and_every_few_seconds() -> None:
    pauses = list(itertools.islice(EndlessBackoffs(), 10_000))
    assert len(pauses) == 10_000
    assert all(0 < pause <= 3 for pause in pauses)
    assert not hasattr(EndlessBackoffs(), "__len__"), "kopf counts attempts of what has a length, and ends with them"
