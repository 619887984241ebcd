from collections.abc import Sequence


def most_in_excess(times: Sequence[float], rate: float, burst: float) -> float:
    """By how many starts the worst window exceeds `burst + rate * window`; zero or less where the limit was kept."""
    # Of the windows that end with start j, the worst begins with the start i whose `i - rate * times[i]` is lowest.
    worst, lowest = -burst, float("inf")
    for count, time in enumerate(sorted(times)):
        lowest = min(lowest, count - rate * time)
        worst = max(worst, count + 1 - rate * time - lowest - burst)
    return worst
