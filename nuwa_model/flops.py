"""How much arithmetic the model is: products of matrices, a multiplication and its sum as two.

Attention counts the pairs of cells that see each other, not those that a backend computes
and masks. What each batch shares (the table of token embeddings) and what is no product of
matrices is left out. This module does not load torch.
"""

import math
from collections.abc import Iterable

from nuwa_model.config import NuwaConfig
from nuwa_model.grid import Extent, Grid
from nuwa_model.sight import Sight, sight_of
from nuwa_model.tasks import Task

_BACKWARD = 2
"""A backward pass is two products for each one of the forward pass."""


def flops_per_token(config: NuwaConfig, task: Task) -> float:
    """Operations of a training step for each target token: forward and backward."""
    grid = target_grid_of(config, task)
    return training_flops(config, task, grid) / grid.num_cells


def training_flops(config: NuwaConfig, task: Task, target: Grid) -> int:
    """Operations of a training step for one example, forward and backward.

    Args:
        config: Shape of the model.
        task: What it trains.
        target: What the example writes; an excerpt is shorter than the model's own grid.
    """
    return (1 + _BACKWARD) * forward_flops(config, task, target)


def target_grid_of(config: NuwaConfig, task: Task) -> Grid:
    """What a task writes."""
    return config.target_grid if task.target == "video" else config.image_grid


def forward_flops(config: NuwaConfig, task: Task, target: Grid) -> int:
    """Operations of a forward pass over one example that writes such a target."""
    head = 2 * (config.dim**2 + config.dim * config.codebook_size)
    return _layer_flops(config, task, target) + target.num_cells * head


def recomputed_flops(config: NuwaConfig, task: Task) -> int:
    """Operations that checkpointed layers do again, over one example.

    All of their forward pass but its last product, which no gradient is made of.
    """
    target = target_grid_of(config, task)
    condition, slots = _grids(config, task, target)
    cells = config.encoder_depth * condition.num_cells + config.decoder_depth * slots.num_cells
    down = 2 * cells * config.dim**2 * config.feed_forward_multiplier
    return _layer_flops(config, task, target) - down


def _layer_flops(config: NuwaConfig, task: Task, target: Grid) -> int:
    condition, slots = _grids(config, task, target)
    extent = config.extent if task.condition == "sketch" else config.text_extent
    encoding = sight_of(config.encoder_attention, extent)
    crossing = sight_of(config.decoder_attention, extent)
    encoder = _products(config, condition.num_cells, maps=4) + _attention(
        config, seen_pairs(encoding, condition, condition)
    )
    decoder = (
        _products(config, slots.num_cells, maps=6)  # four of self-attention, two of cross-attention
        + 2 * condition.num_cells * 2 * config.dim**2  # the keys and values of the condition
        + _attention(config, seen_pairs(config.decoder_sight, slots, slots, causal=True, ahead=1))
        + _attention(config, seen_pairs(crossing, slots, condition))
    )
    return config.encoder_depth * encoder + config.decoder_depth * decoder


def _grids(config: NuwaConfig, task: Task, target: Grid) -> tuple[Grid, Grid]:
    """What the encoder reads, and the decoder's slots."""
    condition = target if task.condition == "sketch" else config.text_grid
    return condition, target._replace(w=target.w + 1)


def seen_pairs(
    sight: Sight, queries: Grid, keys: Grid, *, causal: bool = False, ahead: int = 0
) -> int:
    """How many pairs of a query and a key see each other.

    As ``attention.axial_mask`` has them, or ``attention.nearby_mask``.

    Args:
        sight: Of the queries.
        queries: Their grid.
        keys: Grid of the keys.
        causal: Count only keys not later in raster order; the grids must be equal.
        ahead: Columns that the center lies right of the query.
    """
    if sight.kind == "axial":
        return _pairs_on_lines(queries, keys, causal, ahead)
    return _pairs_in_windows(queries, keys, sight.extent, causal, ahead)


def _pairs_on_lines(queries: Grid, keys: Grid, causal: bool, ahead: int) -> int:
    s, h, w = queries
    inside = _pairs_on_axis(w, keys.w, 0, ahead)  # columns of queries with a center in the grid
    if not causal:
        return s * h * (inside * (keys.s + keys.h - 2) + w * keys.w)
    earlier = h * s * (s - 1) // 2 + s * h * (h - 1) // 2
    return earlier * inside + s * h * w * (w + 1) // 2


def _pairs_in_windows(queries: Grid, keys: Grid, extent: Extent, causal: bool, ahead: int) -> int:
    radius = extent.radius(keys)
    sizes = list(zip(queries, keys, radius, (0, 0, ahead), strict=True))
    if not causal:
        return math.prod(_pairs_on_axis(*axis) for axis in sizes)
    # Of keys at a fixed distance from their query there are as many as the grid has places for it.
    s, h, w = (
        {d: max(0, size - abs(d)) for d in range(center - r, center + r + 1)}
        for size, _, r, center in sizes
    )
    rows_before = _sum(s, range(-len(s), 0)) * sum(h.values()) + s[0] * _sum(h, range(-len(h), 0))
    row = s[0] * h[0]
    itself = 0 if 0 in w else row * queries.w
    return rows_before * sum(w.values()) + row * _sum(w, range(-queries.w, 1)) + itself


def _pairs_on_axis(size: int, key_size: int, radius: int, center: int) -> int:
    places = (i * key_size // size + center for i in range(size))
    return sum(
        max(0, min(key_size, place + radius + 1) - max(0, place - radius)) for place in places
    )


def _sum(counts: dict[int, int], distances: Iterable[int]) -> int:
    return sum(counts.get(distance, 0) for distance in distances)


def _products(config: NuwaConfig, cells: int, *, maps: int) -> int:
    """Of the feed-forward, and of so many square maps beside it."""
    return 2 * cells * config.dim**2 * (maps + 2 * config.feed_forward_multiplier)


def _attention(config: NuwaConfig, pairs: int) -> int:
    """Scores and weighted values."""
    return 2 * pairs * 2 * config.dim
