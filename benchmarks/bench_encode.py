"""How fast a VQ-GAN encodes, against a plain eager loop of the same network, in one run.

THP_MEM_ALLOC_ENABLE=1 python benchmarks/bench_encode.py [--preset nuwa_870m] [--pictures 8]
    [--batch 8]

Jobs set that variable for all they start (``pipelines.memory.ask_huge_pages``); here the plain loop
has it too.

The plain loop takes one picture after the other in float32, as they lie. Every line tells batch and
number format, how much faster it is, how many tokens stay the same, and which share of the device's
measured rate of bfloat16 matrix products its multiplications are. Weights are random, which costs
the same.
"""

import argparse
import json

import torch
from clock import timed
from torch import nn

from nuwa_model.presets import VQGANS
from nuwa_model.tokenizers.vqgan import VQGAN
from pipelines import memory

ROUNDS = 3
SIDE = 2048  # of the matrices whose product tells the device's rate


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="nuwa_870m")
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    arguments = parser.parse_args()
    memory.keep_freed()  # as the workers of tokenize_clips do
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    config = VQGANS[arguments.preset]
    model = VQGAN(config).eval().to(device)
    side = config.resolution
    images = torch.rand(arguments.pictures, 3, side, side, device=device) * 2 - 1
    ways = {
        (1, "float32", "plain loop"): lambda part: model.quantize.nearest(model._latents(part)),
        (arguments.batch, "float32", "encode"): model.encode,
        (arguments.batch, "bfloat16", "encode"): lambda part: in_bfloat16(model, part),
    }
    for (batch, _, _), way in ways.items():
        way(images[:batch])
    seconds = dict.fromkeys(ways, float("inf"))
    tokens = {}
    for _ in range(ROUNDS):  # in turns: a machine's speed changes from minute to minute
        for key, way in ways.items():
            taken = timed(lambda key=key, way=way: tokens.update({key: run(way, images, key[0])}))
            seconds[key] = min(seconds[key], taken)
    work = multiplications(model, images[:1]) * len(images)
    peak = matrix_rate(device)
    plain = next(iter(ways))
    found = {}
    for key in ways:
        batch, dtype, name = key
        same = (tokens[key] == tokens[plain]).float().mean().item()
        ratio = seconds[plain] / seconds[key]
        share = work / seconds[key] / peak
        found[f"{name}, batch {batch}, {dtype}"] = {"ratio": ratio, "same": same, "share": share}
        print(
            f"{name:<10} batch {batch:<3} {dtype:<9} {len(images) / seconds[key]:8.2f} pictures/s, "
            f"×{ratio:.2f} (wanted 3), {same:.1%} of the tokens the same, {share:.0%} of the "
            f"measured rate of bfloat16 products ({2 * peak / 1e12:.2f} TFLOP/s)"
        )
    print(json.dumps({"device": device.type, "preset": arguments.preset, **found}))


def run(way, images, batch):
    """Tokens of all pictures, batch by batch."""
    return torch.cat([way(part).cpu() for part in images.split(batch)])


def in_bfloat16(model, images):
    """Encode with convolutions in bfloat16; distances stay in float32."""
    with torch.autocast(images.device.type, torch.bfloat16):
        return model.encode(images)


def multiplications(model, images):
    """Of all convolutions for these pictures, counted as they run."""
    total = 0

    def count(module, _, output):
        nonlocal total
        total += output.numel() * module.weight[0].numel()

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, nn.Conv2d)]
    model.encode(images)
    for hook in hooks:
        hook.remove()
    return total


def matrix_rate(device):
    """Multiplications a second of a product of large bfloat16 matrices."""
    a, b = (torch.randn(SIDE, SIDE, device=device, dtype=torch.bfloat16) for _ in range(2))

    def multiply():
        for _ in range(4):
            product = a @ b
        return product.sum().item()

    multiply()
    return 4 * SIDE**3 / min(timed(multiply) for _ in range(ROUNDS))


if __name__ == "__main__":
    main()
