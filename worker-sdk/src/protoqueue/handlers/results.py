"""What handlers return."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unsendable:
    """In place of what a function returned in another process, and could not be sent here; `why` is a sentence."""

    why: str
