"""Tables as Go's text/tabwriter aligns them with the settings of `runc list`: byte for byte the same."""

from __future__ import annotations

from aiorun.wire.text import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]], *, minwidth: int = 12, padding: int = 3) -> str:
    """`rows`, all with the same number of cells, as lines. The last cell of a row is as long as it is.

    What can't be printed is escaped: a tab or newline in a bundle's path would break the table, ESC the terminal.
    """
    cells = [[escape(cell) for cell in row] for row in rows]
    widths = [max(minwidth, *(len(cell) + padding for cell in column)) for column in zip(*cells, strict=True)]
    return "".join("".join([cell.ljust(width) for cell, width in zip(row[:-1], widths)] + row[-1:]) + "\n" for row in cells)
