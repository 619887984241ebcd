"""Tables as kubectl prints them: one line per row, columns three spaces apart, nothing padded at the end of a line.

A cell is never folded, so that what stands in it can be copied. Where a terminal is too narrow, the columns that the
caller can do without go first, and then the last column is cut.
"""

from collections.abc import Collection, Sequence
from typing import Any

from rich.cells import cell_len, set_cell_size

_GAP = "   "
_LEAST_LAST = 16
"""Cells that the last column keeps before another column is dropped for it."""


def table_lines(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], width: int | None = None, spare: Collection[str] = ()
) -> list[str]:
    """Pure. The header and the rows; with a `width` in cells, `spare` columns are dropped in their order, then cut."""
    cells = [[one_line("" if cell is None else str(cell)) for cell in row] for row in rows]
    kept = list(range(len(columns)))
    sizes = [max(cell_len(column), *(cell_len(row[n]) for row in cells), 0) for n, column in enumerate(columns)]
    for name in spare if width is not None else ():
        if width is not None and _width(sizes, kept) <= width:
            break
        kept.remove(columns.index(name))
    return [_line([row[n] for n in kept], [sizes[n] for n in kept], width) for row in ([*columns], *cells)]


def fit(lines: Sequence[str], height: int, what: str) -> list[str]:
    """Pure. As many of the lines as have room; how many of `what` were left out stands in place of the last one."""
    if len(lines) <= height:
        return [*lines]
    kept = max(1, height - 1)
    return [*lines[:kept], f"… and {len(lines) - kept} more {what}"]


def _width(sizes: Sequence[int], kept: Sequence[int]) -> int:
    """Cells that are needed, where the last column may be cut to what it keeps in any case."""
    fixed = sum(sizes[n] for n in kept[:-1]) + len(_GAP) * (len(kept) - 1)
    return fixed + min(sizes[kept[-1]], _LEAST_LAST)


def _line(cells: Sequence[str], sizes: Sequence[int], width: int | None) -> str:
    start = "".join(cell + " " * (size - cell_len(cell)) + _GAP for cell, size in zip(cells[:-1], sizes, strict=False))
    last, room = cells[-1], None if width is None else max(1, width - cell_len(start))
    if room is not None and cell_len(last) > room:
        last = set_cell_size(last, room - 1) + "…"
    return (start + last).rstrip()


def printable(text: str) -> str:
    """Nothing that a terminal would obey: payloads, types and errors are what others have written."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str, limit: int | None = None) -> str:
    """Printable, with every run of white space as one space, cut at `limit` characters."""
    line = printable(" ".join(text.split()))
    return line if limit is None or len(line) <= limit else f"{line[: limit - 1]}…"
