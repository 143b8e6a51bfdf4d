"""Nearby attention against others that compute it, forward and backward, in one run.

python benchmarks/bench_attention.py [--grid 10 21 21] [--dtype float32] [--rounds 5]

Eight heads of 64, window 3×3×3, causal. Each contestant has a process of its own, so that its peak
memory above what was there before it began is its own too; processes take turns, and each ratio is
of the fastest rounds. ``projected`` lines have the projections of a layer of width 512 around the
attention, as the layer of nuwa-pytorch has (``make peers``). FlexAttention has no backward pass on
a CPU. Last comes what a frame costs in videos of 2 to 40 frames.
"""

import argparse
import json
import math
from functools import partial

import peers
import torch
import torch.nn.functional as F
from turns import device, race

from nuwa_model.attention import ATTENTIONS, nearby_attention, nearby_mask
from nuwa_model.attention.layer import MultiHeadAttention
from nuwa_model.grid import Extent, Grid

HEADS, SIZE = 8, 64
WINDOW = {"extent": Extent(3, 3, 3), "causal": True}
FRAMES = (2, 5, 10, 20, 40)
OURS, FULL, PEER = "nearby_attention", "full, masked", "nuwa-pytorch 0.7.8, projected"


def ours(grid, dtype, backend="auto"):
    near = partial(nearby_attention, query_grid=grid, key_grid=grid, backend=backend, **WINDOW)
    return near, heads(grid, dtype)


def full(grid, dtype):
    mask = nearby_mask(grid, grid, **WINDOW).to(device())
    return partial(F.scaled_dot_product_attention, attn_mask=mask), heads(grid, dtype)


def axial(grid, dtype):
    lines = partial(ATTENTIONS["axial"], query_grid=grid, key_grid=grid, **WINDOW)
    return lines, heads(grid, dtype)


def gathered(grid, dtype):
    """Each query with copies of the keys that it sees."""
    mask = nearby_mask(grid, grid, **WINDOW).to(device())
    seen, places = mask.int().sort(dim=1, descending=True, stable=True)
    most = int(seen.sum(dim=1).max())
    seen, places = seen[:, :most].bool(), places[:, :most]

    def attend(q, k, v):
        scores = torch.einsum("bnqe,bnqke->bnqk", q * SIZE**-0.5, k[:, :, places])
        weights = scores.masked_fill(~seen, -math.inf).softmax(dim=-1)
        return torch.einsum("bnqk,bnqke->bnqe", weights, v[:, :, places])

    return attend, heads(grid, dtype)


def flex(grid, dtype):
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    h, w = grid.h, grid.w

    def near(_b, _h, q, k):
        ds, dh = q // (h * w) - k // (h * w), q // w % h - k // w % h
        dw = q % w - k % w
        return (k <= q) & (ds <= 1) & (dh.abs() <= 1) & (dw.abs() <= 1)

    cells = grid.num_cells
    blocks = create_block_mask(near, None, None, cells, cells, device=device().type)
    compiled = torch.compile(flex_attention)
    attend = partial(compiled, block_mask=blocks)
    is_forward_only = device().type == "cpu"
    tensors = [x.detach() if is_forward_only else x for x in heads(grid, dtype)]
    return attend, tensors


def our_layer(grid, dtype):
    layer = MultiHeadAttention(HEADS * SIZE, HEADS).to(device(), dtype)

    def attend(x):
        return layer(x, x, query_grid=grid, key_grid=grid, **WINDOW)

    return attend, [hidden(grid.num_cells, dtype)]


def their_layer(grid, dtype):
    nuwa = peers.nuwa_pytorch()
    if nuwa is None:
        raise FileNotFoundError(peers.HINT)
    layer = nuwa.Sparse3DNA(HEADS * SIZE, grid, heads=HEADS, dim_head=SIZE, causal=True)
    return layer.to(device(), dtype), [
        hidden(grid.num_cells + 1, dtype)
    ]  # a start before all cells


CONTESTANTS = {
    OURS: ours,
    FULL: full,
    "axial": axial,
    "gathered windows": gathered,
    "FlexAttention, compiled": flex,
    "our layer, projected": our_layer,
    PEER: their_layer,
}


def heads(grid, dtype):
    shape = (1, HEADS, grid.num_cells, SIZE)
    return [torch.randn(shape, device=device(), dtype=dtype, requires_grad=True) for _ in range(3)]


def hidden(cells, dtype):
    return torch.randn(1, cells, HEADS * SIZE, device=device(), dtype=dtype, requires_grad=True)


def contestant(name, grid, dtype, backend=None):
    """The work of a turn: forward and, where there is one, backward."""
    more = {} if backend is None else {"backend": backend}
    attend, tensors = CONTESTANTS[name](grid, dtype, **more)
    return partial(step, attend, tensors)


def step(attend, tensors):
    out = attend(*tensors)
    if out.requires_grad:
        out.sum().backward()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", type=int, nargs=3, action="append")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    dtype = getattr(torch, arguments.dtype)
    told = {}
    for grid in [Grid(*sizes) for sizes in arguments.grid or [(1, 21, 21), (10, 21, 21)]]:
        print(f"\n{tuple(grid)}, {HEADS} heads of {SIZE}, {arguments.dtype}, {device().type}")
        found = race(
            {name: (contestant, name, grid, dtype) for name in CONTESTANTS}, arguments.rounds
        )
        told[str(tuple(grid))] = report(found)
    told["a frame"] = frames_cost(dtype, arguments.rounds)
    print(json.dumps(told))


def report(found):
    told = {}
    layer = found["our layer, projected"]
    for name, (seconds, memory, problem) in found.items():
        if problem is not None:
            print(f"  {name:<30} {problem}")
            continue
        against = layer if "projected" in name else found[OURS]
        told[name] = {"slower": seconds / against[0], "memory": memory / against[1]}
        print(
            f"  {name:<30} {seconds * 1e3:8.1f} ms, {memory:7.0f} MiB at its peak: "
            f"×{told[name]['slower']:5.1f} of our time, ×{told[name]['memory']:5.1f} of our memory"
        )
    return told


def frames_cost(dtype, rounds):
    """What a frame costs in longer videos, as a share of what it costs in the shortest."""
    grids = {frames: Grid(frames, 21, 21) for frames in FRAMES}
    found = race({s: (contestant, OURS, grid, dtype) for s, grid in grids.items()}, rounds)
    each = {frames: seconds / frames for frames, (seconds, _, _) in found.items()}
    shares = {frames: cost / each[10] for frames, cost in each.items()}
    line = ", ".join(f"{frames} frames ×{share:.2f}" for frames, share in shares.items())
    print(f"\ncost of a frame of 21×21, 10 frames being 1: {line}")
    return shares


if __name__ == "__main__":
    main()
