"""Numbers in sentences for people."""


def counted(number: int, noun: str, more: str = "") -> str:
    """Such as `1 task`, `2 tasks`; `more` follows the noun."""
    return f"{number} {noun if number == 1 else noun + 's'}" + (f" {more}" if more else "")
