"""Which stored messages no consumer takes, by their subjects."""

from collections.abc import Iterable, Mapping

NAMED = 5
"""How many subjects a message names."""


def stranded(stored: Mapping[str, int], filters: Iterable[str]) -> dict[str, int]:
    """The message counts of subjects that match none of the consumers' filters."""
    patterns = [each.split(".") for each in filters]
    return {
        subject: count
        for subject, count in stored.items()
        if not any(_matches(subject.split("."), pattern) for pattern in patterns)
    }


def described(found: Mapping[str, int]) -> str:
    """Such as `pq.default.email.task.4 (2)`, the fullest first."""
    ordered = sorted(found.items(), key=lambda each: (-each[1], each[0]))
    named = [f"{subject[:256]} ({count})" for subject, count in ordered[:NAMED]]
    if more := len(ordered) - len(named):
        named.append(f"and {more} more")
    return ", ".join(named)


def _matches(tokens: list[str], pattern: list[str]) -> bool:
    if pattern[-1:] == [">"]:
        return len(tokens) >= len(pattern) and _matches(tokens[: len(pattern) - 1], pattern[:-1])
    pairs = zip(pattern, tokens, strict=False)
    return len(tokens) == len(pattern) and all(want in ("*", token) for want, token in pairs)
