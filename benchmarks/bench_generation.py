"""Wavefront decoding against one token at a time and against nuwa-pytorch, in one run.

THP_MEM_ALLOC_ENABLE=1 python benchmarks/bench_generation.py [--only steps paper peer length sketch]
    [--depth 8] [--dim 512] [--samples 1]

``steps``: the same weights, waves against our own sequential decoding with its cache, an image and
a video, in float32 and, where the processor has units for it, bfloat16. Beside each stands what the
products of the weights alone would take, pass by pass: no decoder with these schedules is faster.
``paper``: the same at the paper's size, in the last of these; one token at a time is timed at 64
tokens spread over the grid, since all would take minutes. ``peer``: 512 tokens, ``--samples`` times
at once, against nuwa-pytorch's ``generate`` (``make peers``) at 4 layers of 256 each, equal heads
and frames, its own 512 codes, without guidance. ``length``: time of a frame and peak memory of
videos of 10, 100 and 1,000 frames. ``sketch``: a video after a sketch as large as itself, beside
one after a text, whose cells are few.
"""

import argparse
import json
import os
from collections import Counter
from functools import cache, partial

import peers
import torch
import torch.nn.functional as F
from bench_train_step import TokensOnly
from clock import timed
from torch import nn
from turns import device, peak, race, reset_peak, synchronize

from nuwa_model.config import NuwaConfig
from nuwa_model.generation import Request, Sampling, freeze, generate, generate_frames
from nuwa_model.generation.cache import plan_pass
from nuwa_model.generation.schedule import plan_passes
from nuwa_model.generation.stepper import Stepper
from nuwa_model.grid import Grid
from nuwa_model.model import Nuwa
from nuwa_model.presets import PRESETS
from pipelines import memory
from pipelines.training.engine import choose_precision

IMAGE, VIDEO = Grid(1, 21, 21), Grid(10, 21, 21)
CODEBOOK = {"codebook_size": 12_288, "codebook_dim": 256, "text_length": 77}
WANTED = {  # times as fast as one token at a time
    ("cpu", torch.float32): {IMAGE: 4, VIDEO: 10},
    ("cpu", torch.bfloat16): {IMAGE: 5, VIDEO: 18},
    ("cuda", torch.float32): {IMAGE: 6, VIDEO: 35},
    ("cuda", torch.bfloat16): {IMAGE: 6, VIDEO: 35},
}
WAYS = ("wavefront", "sequential")
LARGE = {IMAGE: 7, VIDEO: 30}  # a wave of a few cells costs as much as one: 61 of 441
SPREAD = 64
SEED = Sampling(seed=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--samples", type=int, default=1)
    arguments = parser.parse_args()
    told = {part: PARTS[part](arguments) for part in arguments.only}
    print(json.dumps({"device": device().type, **told}))


def steps(asked):
    """Waves against our own sequential decoding, whole."""
    config, told = layers(asked), []
    for dtype in dict.fromkeys((torch.float32, fast_dtype())):
        model = made(config, dtype)
        print(f"\n{config.decoder_depth} layers of {config.dim}, {name(dtype)}, {device().type}")
        for grid in (IMAGE, VIDEO):
            wave, one_by_one = (partial(decode, model, grid, way) for way in WAYS)
            wave_s = best_of(3, wave)
            one_by_one_s = timed(one_by_one)
            wanted = WANTED[device().type, dtype][grid]
            told.append(compare(model, grid, wave_s, one_by_one_s, wanted))
    return told


def layers(asked):
    """As many layers as asked for, of that width, with windows of 3×3×3."""
    return NuwaConfig(
        dim=asked.dim,
        num_heads=asked.dim // 64,
        decoder_depth=asked.depth,
        encoder_depth=2,
        target_grid=VIDEO,
        **CODEBOOK,
    )


def fast_dtype():
    """Float32 where a processor has no units for bfloat16."""
    return getattr(torch, choose_precision())


def paper(_asked):
    """The paper's size, random weights."""
    started = reset_peak()
    model = made(PRESETS["nuwa_870m"], fast_dtype())
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    size = f"{weights / 2**30:.1f} GiB of weights"
    print(f"\nnuwa_870m, {name(fast_dtype())}, {size} (paper: 50 s an image)")
    told = []
    for grid in (IMAGE, VIDEO):
        wave = best_of(2, partial(decode, model, grid, "wavefront"))
        told.append(compare(model, grid, wave, spread_over(model, grid), LARGE[grid]))
        print(f"    {(peak() - started) / 2**30:.1f} GiB in all, weights included")
    return told


def compare(model, grid, wave, one_by_one, wanted):
    """Print one line of times, with what products alone would take."""
    products = {way: products_of(model, grid, way) for way in WAYS}
    told = {
        "grid": grid,
        "seconds": wave,
        "ratio": one_by_one / wave,
        "bound": one_by_one / products["wavefront"],
        "share": products["wavefront"] / wave,
    }
    print(
        f"  {tuple(grid)}: {num_passes(model, grid, 'wavefront')} passes in {wave:.2f} s, "
        f"{grid.num_cells} tokens one by one in {one_by_one:.2f} s: ×{told['ratio']:.1f} (wanted "
        f"×{wanted})\n    products alone {products['wavefront']:.2f} s and "
        f"{products['sequential']:.2f} s: {told['share']:.0%} of the waves' time; with no other "
        f"work in a wave ×{told['bound']:.1f}"
    )
    return told


def made(config, dtype):
    torch.manual_seed(0)
    memory.keep_freed()
    torch.set_default_dtype(dtype)  # so that a large model is never there twice
    model = Nuwa(config).to(device()).eval()
    torch.set_default_dtype(torch.float32)
    return model


@cache
def condition(model, is_sketch=False):
    grid = model.config.target_grid if is_sketch else model.config.text_grid
    tokens = torch.randint(1, 16, (1, *grid), device=device())
    mask = torch.ones(1, grid.num_cells, dtype=torch.bool, device=device())
    with torch.inference_mode():
        return model.encoder(tokens, mask, is_sketch=is_sketch)


@cache
def frozen(model):
    return freeze(model)


def decode(model, grid, schedule, samples=1, *, is_sketch=False):
    generate(
        frozen(model),
        condition(model, is_sketch),
        target_grid=grid,
        schedule=schedule,
        seed=SEED.seed,
        num_samples=samples,
    )
    synchronize()


def best_of(rounds, work):
    work()  # makes the plans
    return min(timed(work) for _ in range(rounds))


def num_passes(model, grid, schedule):
    return len(plan_passes(grid, model.config.decoder_sight, schedule))


@torch.inference_mode()
def spread_over(model, grid):
    """Seconds of one token at a time, from some of the passes."""
    sight = model.config.decoder_sight
    passes = plan_passes(grid, sight, "sequential")
    plans = [plan_pass(step, grid, sight, device()) for step in passes[:: len(passes) // SPREAD]]
    stepper = Stepper(frozen(model), [condition(model)], grid)
    tokens = torch.zeros(1, grid.num_cells, dtype=torch.long, device=device())

    def step_all():
        for plan in plans:
            stepper.step(plan, tokens).argmax(dim=-1)
        synchronize()

    step_all()
    return timed(step_all) * len(passes) / len(plans)


@torch.inference_mode()
def products_of(model, grid, schedule):
    """Seconds that the weights' products take, if nothing else is done in a pass."""
    sizes = Counter(
        len(step.slots) for step in plan_passes(grid, model.config.decoder_sight, schedule)
    )
    weights = [m.weight for m in model.decoder.layers.modules() if isinstance(m, nn.Linear)]
    keys = {id(layer.cross_attention.to_key_value.weight) for layer in model.decoder.layers}
    weights = [w for w in weights if id(w) not in keys]  # those of the condition are made once
    weights += [model.decoder.head.project_out.weight, model.decoder.embedding.table()]
    seconds = 0.0
    for size, count in sizes.items():
        inputs = {
            w.shape[1]: torch.randn(size, w.shape[1], device=device(), dtype=w.dtype)
            for w in weights
        }

        def multiply(inputs=inputs):
            for weight in weights:
                F.linear(inputs[weight.shape[1]], weight)
            synchronize()

        multiply()
        seconds += count * min(timed(multiply) for _ in range(3))
    return seconds


def peer(asked):
    """512 tokens of a small model: its peer computes all tokens so far anew for each."""
    shape = {"dim": 256, "num_heads": 4, "decoder_depth": 4, "encoder_depth": 2}
    codebook = {**CODEBOOK, "codebook_size": 512}
    config = NuwaConfig(**shape, **codebook, target_grid=Grid(8, 8, 8))
    os.environ["TQDM_DISABLE"] = "1"  # read when its process imports that
    contestants = {
        "ours": (our_decoding, config, asked.samples),
        "nuwa-pytorch 0.7.8": (their_decoding, config, asked.samples),
    }
    found = race(contestants, rounds=2)
    print(
        f"\n{asked.samples} samples of {tuple(config.target_grid)}, "
        f"{config.decoder_depth} layers of {config.dim}, float32"
    )
    for contestant, (seconds, used, problem) in found.items():
        print(f"  {contestant:<20} {problem or f'{seconds:7.2f} s, {used:5.0f} MiB'}")
    if any(problem for *_, problem in found.values()):
        return None
    ours, theirs = (seconds for seconds, *_ in found.values())
    print(f"  ×{theirs / ours:.0f} (wanted ×300)")
    return {"ratio": theirs / ours}


def our_decoding(config, samples):
    model = made(config, torch.float32)
    return partial(decode, model, config.target_grid, "wavefront", samples)


def their_decoding(config, samples):
    torch.manual_seed(0)
    model = peers.nuwa_of(config, Tokens(config)).to(device())
    text = torch.randint(1, 100, (samples, config.text_length), device=device())
    return partial(model.eval().generate, text=text, cond_scale=1.0)


class Tokens(TokensOnly):
    """What it asks of a tokenizer when it generates: here pixels are left out."""

    def __init__(self, config):
        super().__init__(config)
        self.codebook = torch.zeros(config.codebook_size, 1, device=device())

    def decode(self, codes):
        return codes


def length(_asked):
    """Time of a frame, and memory, against the length of a video; window by window."""
    found = race({n: (long_video, n) for n in (10, 100, 1000)}, rounds=1)
    print("\nvideos of 8×8 tokens a frame, windows of 10 frames, 2 layers of 128")
    told = []
    for frames, (seconds, used, problem) in found.items():
        print(f"  {frames:>5} frames: {problem or f'{seconds / frames * 1e3:6.1f} ms a frame, '}"
              f"{used:5.1f} MiB above the weights")  # fmt: skip
        told.append({"frames": frames, "ms": seconds / frames * 1e3, "memory": used})
    return told


def long_video(num_frames):
    grid = Grid(10, 8, 8)
    model = made(NuwaConfig(dim=128, num_heads=2, target_grid=grid), torch.float32)
    asked = Request(target_grid=grid, sampling=SEED)

    def decode_all():
        made = generate_frames(frozen(model), condition(model), asked, num_frames=num_frames)
        assert sum(1 for _ in made) == num_frames

    return decode_all


def name(dtype):
    return str(dtype).removeprefix("torch.")


def sketch(asked):
    """A video after a sketch and after a text."""
    model = made(layers(asked), torch.float32)
    after = {
        kind: best_of(3, partial(decode, model, VIDEO, "wavefront", is_sketch=kind == "sketch"))
        for kind in ("text", "sketch")
    }
    ratio = after["sketch"] / after["text"]
    print(f"\n{asked.depth} layers of {asked.dim}, float32: a video {tuple(VIDEO)} after a text")
    print(f"  {after['text']:.2f} s, after a sketch {after['sketch']:.2f} s: ×{ratio:.2f}")
    return {**after, "ratio": ratio}


PARTS = {"steps": steps, "paper": paper, "peer": peer, "length": length, "sketch": sketch}


if __name__ == "__main__":
    main()
