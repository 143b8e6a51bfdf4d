"""Masks as pictures, for tests that show what a cell sees."""

from nuwa_model.grid import Grid


def draw(seen, grid: Grid) -> str:
    """One line a row, frames separated by an empty line; # is seen, . is not."""
    cells = seen.reshape(grid).tolist()
    return "\n\n".join(
        "\n".join("".join("#" if cell else "." for cell in row) for row in frame) for frame in cells
    )
