"""How much of a random or long test is run each time, and how much by `make soak`."""

import os
from typing import TypeVar

T = TypeVar("T")

IS_SOAK = os.environ.get("PROTOQUEUE_SOAK") == "1"


def scaled(each_time: T, in_a_soak: T) -> T:
    return in_a_soak if IS_SOAK else each_time
