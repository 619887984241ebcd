"""Which tasks a listing over HTTP can be asked for."""

import pytest
from pydantic import ValidationError

from protoqueue_gateway.api.inputs import TasksQuery


def test_a_listing_of_running_tasks_is_refused_with_what_to_ask_instead() -> None:
    with pytest.raises(ValidationError, match=r"workers alone know: list state=Waiting"):
        TasksQuery.model_validate({"state": "Running"})


def test_a_listing_of_a_state_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(ValidationError, match=r"'Scheduled', 'Waiting'"):
        TasksQuery.model_validate({"state": "running"})
