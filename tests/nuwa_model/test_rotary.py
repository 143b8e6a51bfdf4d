import pytest
import torch
from einops import einsum

from nuwa_model.attention.rotary import coordinates_of, rotate, rotation_at
from nuwa_model.config import NuwaConfig
from nuwa_model.decoder import slot_grid
from nuwa_model.errors import ConfigError
from nuwa_model.grid import Extent, Grid
from tests.nuwa_model.tiny_model import make_model

GRID = Grid(3, 4, 5)


def turned(vectors):
    return rotate(vectors, rotation_at(coordinates_of(GRID, vectors.device), vectors.shape[-1]))


def everywhere(vector):
    """The same vector in every cell, one head, one sample."""
    return vector.expand(1, 1, GRID.num_cells, -1)


def test_a_constant_query_and_key_score_by_how_far_apart_their_cells_are_alone():
    query, key = (torch.randn(32, dtype=torch.float64) for _ in range(2))
    scores = einsum(turned(everywhere(query)), turned(everywhere(key)), "b n q e, b n k e -> q k")
    cells = torch.cartesian_prod(*(torch.arange(size) for size in GRID))
    by_offset = {}
    for i, cell in enumerate(cells.tolist()):
        for j, other in enumerate(cells.tolist()):
            offset = tuple(a - b for a, b in zip(other, cell, strict=True))
            by_offset.setdefault(offset, []).append(scores[i, j].item())
    assert all(max(found) - min(found) < 1e-9 for found in by_offset.values())
    means = torch.tensor([found[0] for found in by_offset.values()])
    assert means.unique().numel() == len(by_offset)


def test_turning_keeps_lengths_and_leaves_the_first_cell_alone():
    x = torch.randn(2, 4, GRID.num_cells, 14, dtype=torch.float64)
    assert torch.allclose(turned(x).norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(turned(x)[:, :, 0], x[:, :, 0])


def rotations_with(condition, is_sketch=True):
    model = make_model(GRID, Extent(3, 3, 3), is_rotary=True)
    mask = torch.ones(1, condition.num_cells, dtype=torch.bool)
    context = model.encoder(torch.zeros(1, *condition).long(), mask, is_sketch=is_sketch)
    slots = coordinates_of(slot_grid(GRID), mask.device)
    return model.decoder.rotations(slots, GRID, context)


def test_a_slot_is_turned_as_the_place_of_the_sketch_that_it_stands_on():
    rotations = rotations_with(GRID)
    on_cells = rotations.query.cos.unflatten(0, slot_grid(GRID))
    cells = rotations.key.cos.unflatten(0, GRID)
    assert torch.equal(on_cells[:, :, :-1], cells)
    assert torch.equal(on_cells[:, :, -1], cells[:, :, -1])


def test_a_smaller_sketch_is_spread_over_the_target():
    whole = rotations_with(GRID)
    half = rotations_with(Grid(3, 2, 5))
    cells = whole.key.sin.unflatten(0, GRID)
    assert torch.equal(half.key.sin.unflatten(0, (3, 2, 5)), cells[:, ::2])


def test_a_text_is_not_turned():
    rotations = rotations_with(Grid(4, 1, 1), is_sketch=False)
    assert rotations.query is None
    assert rotations.key is None


@pytest.mark.parametrize("dim", [39, 30])  # heads of 13 and of 10
def test_a_head_that_cannot_be_turned_on_three_axes_is_refused(dim):
    with pytest.raises(ConfigError, match="must be even and at least 12"):
        NuwaConfig(dim=dim, num_heads=3, is_rotary=True)
