"""Wavefront decoding against one token at a time: same weights, same tokens, one run.

python benchmarks/bench_generation.py [--depth 4] [--dim 256] [--grid 10 8 8] [--batch 1]
"""

import argparse
import json
import time

import torch

from nuwa_model.config import NuwaConfig
from nuwa_model.generation import Sampling, generate
from nuwa_model.generation.schedule import plan_passes
from nuwa_model.grid import Grid
from nuwa_model.model import Nuwa


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--grid", type=int, nargs=3, default=(10, 8, 8))
    parser.add_argument("--batch", type=int, default=1)
    arguments = parser.parse_args()
    grid = Grid(*arguments.grid)
    torch.manual_seed(0)
    model = Nuwa(
        NuwaConfig(
            dim=arguments.dim,
            num_heads=arguments.dim // 64,
            decoder_depth=arguments.depth,
            target_grid=grid,
        )
    ).eval()
    text = torch.randint(1, 100, (arguments.batch, *model.config.text_grid))
    with torch.inference_mode():
        mask = torch.ones(arguments.batch, model.config.text_length, dtype=torch.bool)
        context = model.encoder(text, mask, is_sketch=False)
    for schedule in ("wavefront", "sequential"):  # plans are made once in a process
        plan_passes(grid, model.config.decoder_sight, schedule)
    seconds, tokens, steps = {}, {}, {}
    for schedule in ("wavefront", "sequential"):
        started = time.perf_counter()
        samples = generate(
            model, context, target_grid=grid, sampling=Sampling(seed=1), schedule=schedule
        )
        seconds[schedule] = time.perf_counter() - started
        tokens[schedule], steps[schedule] = samples.tokens, samples.num_steps
    same = torch.equal(tokens["wavefront"], tokens["sequential"])
    ratio = seconds["sequential"] / seconds["wavefront"]
    bound = steps["sequential"] / steps["wavefront"]
    print(
        f"grid {tuple(grid)}, {arguments.depth} layers of {arguments.dim}, batch {arguments.batch}"
    )
    for schedule in seconds:
        print(f"  {schedule:<11} {steps[schedule]:>5} steps {seconds[schedule]:8.2f} s")
    print(f"  {ratio:.1f} times as fast; fewer steps by {bound:.1f}; same tokens: {same}")
    print(json.dumps({"ratio": ratio, "bound": bound, "same_tokens": same, "seconds": seconds}))


if __name__ == "__main__":
    main()
