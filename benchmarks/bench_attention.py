"""Row-block attention against one masked product over all pairs, forward and backward, one run.

python benchmarks/bench_attention.py [--batch 4] [--dtype bfloat16]
"""

import argparse
import json
import time

import torch
import torch.nn.functional as F

from nuwa_model.attention import nearby_attention, nearby_mask
from nuwa_model.grid import Extent, Grid

WINDOW, PREDICTED = Extent(3, 3, 3), (0, 0, 1)
GRIDS = {"image": Grid(1, 21, 22), "demo video": Grid(10, 8, 9), "video": Grid(10, 21, 22)}


def seconds_of(call, tensors, repeats=3):
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        call(*tensors).float().sum().backward()
        best = min(best, time.perf_counter() - started)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--dtype", default="bfloat16")
    arguments = parser.parse_args()
    dtype = getattr(torch, arguments.dtype)
    ratios = {}
    print(f"seconds, forward and backward, batch {arguments.batch}, 4 heads of 64, {dtype}")
    for name, grid in GRIDS.items():
        mask = nearby_mask(grid, grid, WINDOW, causal=True, offset=PREDICTED)
        tensors = [
            torch.randn(arguments.batch, 4, grid.num_cells, 64, dtype=dtype, requires_grad=True)
            for _ in range(3)
        ]

        def ours(q, k, v, grid=grid):
            return nearby_attention(
                q,
                k,
                v,
                query_grid=grid,
                key_grid=grid,
                extent=WINDOW,
                causal=True,
                offset=PREDICTED,
            )

        def fused(q, k, v, mask=mask):
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

        near, full = seconds_of(ours, tensors), seconds_of(fused, tensors)
        bound = grid.num_cells / mask.sum(dim=1).double().mean().item()
        ratios[name] = full / near
        print(
            f"  {name:<11} {tuple(grid)!s:<12} nearby {near:7.3f}  torch's masked attention "
            f"{full:7.3f}  ratio {full / near:5.1f}  (keys seen: 1 in {bound:.0f})"
        )
    print(json.dumps({"ratios": ratios}))


if __name__ == "__main__":
    main()
