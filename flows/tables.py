"""Plain tables on a terminal."""

from collections.abc import Iterable, Sequence


def print_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print columns aligned, numbers to the right and with thousands separators.

    Args:
        headers: Name of each column.
        rows: A cell for each column; ``None`` is left blank.
    """
    for line in table_lines(headers, rows):
        print(line)


def table_lines(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """The lines that ``print_table`` prints."""
    rows = [list(row) for row in rows]
    cells = [list(headers), *([_text(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    is_number = [
        bool(rows) and all(isinstance(row[place], int | float | None) for row in rows)
        for place in range(len(headers))
    ]
    lines = []
    for line in cells:
        padded = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, is_number, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return lines


def _text(cell: object) -> str:
    if cell is None:
        return ""
    return f"{cell:,}" if isinstance(cell, int | float) else str(cell)
