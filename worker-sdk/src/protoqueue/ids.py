"""Task ids."""

import os
import time


def new_task_id() -> str:
    """A UUID of version 7 as 32 hexadecimal digits: unique, in order of time, and one token of a subject or key."""
    milliseconds = time.time_ns() // 1_000_000
    entropy = int.from_bytes(os.urandom(10))
    value = (milliseconds << 80) | (0x7 << 76) | ((entropy >> 68) << 64) | (0b10 << 62) | (entropy & ((1 << 62) - 1))
    return f"{value:032x}"
