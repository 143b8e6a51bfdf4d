"""The one entrance to nearby attention, and the choice among its backends."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from nuwa_model.attention import dense, flex, kernel, reference, rows
from nuwa_model.attention.window import Offset
from nuwa_model.errors import GridError, UnknownNameError
from nuwa_model.grid import Extent, Grid


@runtime_checkable
class AttentionBackend(Protocol):
    """Attend from every query to the keys inside its window."""

    def __call__(
        self,
        q: Float[Tensor, "b n q e"],
        k: Float[Tensor, "b n k e"],
        v: Float[Tensor, "b n k e"],
        *,
        query_grid: Grid,
        key_grid: Grid,
        extent: Extent,
        causal: bool,
        offset: Offset,
        key_mask: Bool[Tensor, "b k"] | None,
    ) -> Float[Tensor, "b n q e"]:
        """Return the attended values."""


BACKENDS: Mapping[str, AttentionBackend] = {
    "reference": reference.attend,
    "dense": dense.attend,
    "rows": rows.attend,
    "triton": kernel.attend,
    "flex": flex.attend,
}

_DENSE_KEYS = 128
"""Up to this many keys one dense call beats row blocks (measured on two cores)."""


def nearby_attention(
    q: Float[Tensor, "b n q e"],
    k: Float[Tensor, "b n k e"],
    v: Float[Tensor, "b n k e"],
    *,
    query_grid: Grid,
    key_grid: Grid,
    extent: Extent,
    causal: bool = False,
    offset: Offset = (0, 0, 0),
    key_mask: Bool[Tensor, "b k"] | None = None,
    backend: str = "auto",
) -> Float[Tensor, "b n q e"]:
    """Multi-head 3D nearby attention (NÜWA Eq. 7–11; decisions D7, D8).

    Args:
        q: Queries, one a cell of ``query_grid`` in raster order.
        k: Keys, one a cell of ``key_grid``.
        v: Values, like the keys.
        query_grid: Shape of the queries.
        key_grid: Shape of the keys; another shape than the queries' is cross-attention.
        extent: Full odd window width on the key grid.
        causal: Drop keys later in raster order; grids must be equal.
        offset: Moves the window's center; the decoder uses ``(0, 0, 1)``.
        key_mask: False at padded keys.
        backend: Name in ``BACKENDS``, or ``auto`` to choose by size.

    Raises:
        GridError: A tensor does not have its grid's number of cells.
        UnknownNameError: There is no such backend.
        ConfigError: The backend cannot run here; the message says what to do.
    """
    refuse_misfits(q, k, query_grid, key_grid, backend)
    if backend == "auto":
        # Triton's kernel joins here when a GPU has shown it right and faster.
        backend = "dense" if key_mask is not None or _is_dense(key_grid, extent) else "rows"
    return BACKENDS[backend](
        q,
        k,
        v,
        query_grid=query_grid,
        key_grid=key_grid,
        extent=extent,
        causal=causal,
        offset=offset,
        key_mask=key_mask,
    )


def refuse_misfits(
    q: Float[Tensor, "b n q e"],
    k: Float[Tensor, "b n k e"],
    query_grid: Grid,
    key_grid: Grid,
    backend: str,
) -> None:
    """Raise if tensors do not fill their grids, or there is no such backend."""
    if q.shape[2] != query_grid.num_cells or k.shape[2] != key_grid.num_cells:
        raise GridError(
            f"{q.shape[2]} queries and {k.shape[2]} keys do not fill grids "
            f"{tuple(query_grid)} and {tuple(key_grid)}."
        )
    if backend not in ("auto", *BACKENDS):
        raise UnknownNameError("attention backend", backend, BACKENDS)


def _is_dense(key_grid: Grid, extent: Extent) -> bool:
    """Whether one product over all pairs wastes little: few keys, or windows of nearly all rows."""
    radius = extent.radius(key_grid)
    rows_of_window = (2 * radius.s + 1) * (2 * radius.h + 1)
    return key_grid.num_cells <= _DENSE_KEYS or rows_of_window >= 2 * key_grid.s * key_grid.h
