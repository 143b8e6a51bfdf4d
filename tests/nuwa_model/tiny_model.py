"""A model to decode from, small enough for float64."""

from dataclasses import replace

import torch

from nuwa_model.config import NuwaConfig
from nuwa_model.model import Nuwa


def make_model(grid, extent, seed=0, **settings):
    """A tiny model in float64 whose logits are far from equal."""
    torch.manual_seed(seed)
    config = replace(
        NuwaConfig(),
        dim=24,
        num_heads=2,
        text_length=4,
        target_grid=grid,
        extent=extent,
        **settings,
    )
    model = Nuwa(config).double().eval()
    with torch.no_grad():
        model.decoder.head.project_out.weight.mul_(100)
    return model


def make_context(model, is_sketch, batch=2, seed=1):
    generator = torch.Generator().manual_seed(seed)
    grid = model.config.target_grid if is_sketch else model.config.text_grid
    tokens = torch.randint(32, (batch, *grid), generator=generator)
    mask = torch.ones(batch, grid.num_cells, dtype=torch.bool)
    mask[0, grid.num_cells // 2 + 1 :] = is_sketch
    with torch.no_grad():
        return model.encoder(tokens, mask, is_sketch=is_sketch)
