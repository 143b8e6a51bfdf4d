"""A training step against nuwa-pytorch's, and the loader beside it, in one run.

THP_MEM_ALLOC_ENABLE=1 python benchmarks/bench_train_step.py [--grid 10 21 21] [--depth 4]
    [--batch 1] [--base-batch 2] [--rounds 3]

A step is forward, backward, clipping and a fused AdamW update; the task is T2V. All have the width
and heads, vocabularies and length of text of the preset ``base``, as many layers in the decoder as
``--depth`` says and half as many in the encoder; tokens and texts are drawn. nuwa-pytorch
(``make peers``) runs with a decoder that is not reversible, which is the faster of its two: it has
no second feed-forward in each layer and computes nothing twice. Contestants take turns in processes
of their own, products of large matrices among them: MFU is against the rate of those, memory above
the weights.

Then comes ``base`` at its own size, also as the training loop runs it (DeepSpeed, averaged
weights), and how fast batches of that come from a store, as a share of that step.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import peers
import pyarrow as pa
import torch
from clock import timed
from torch import nn
from turns import device, race

from nuwa_model.batch import Batch
from nuwa_model.flops import flops_per_token
from nuwa_model.grid import Grid
from nuwa_model.losses import next_token_loss
from nuwa_model.model import Nuwa
from nuwa_model.presets import PRESETS
from nuwa_model.tasks import TASKS
from pipelines import memory
from pipelines.loading.loader import TrainingLoader
from pipelines.presets import RUN_PRESETS
from pipelines.store.schema import TOKENS
from pipelines.store.shards import write_shard
from pipelines.store.table import StoreTable, store_versions
from pipelines.training.ema import AveragedWeights
from pipelines.training.engine import choose_precision, start_engine, take_step

TASK = TASKS["T2V"]
SIDE, PRODUCTS = 2048, 4  # of matrices, which tell the device's rate
PEER, LOOP = "nuwa-pytorch 0.7.8", "ours, as the loop runs it"
ALL_PAIRS = "ours, all pairs under a mask"
CLIPS, CAPTION = 4000, 12  # of the store: 20 MB of tokens; words
LOADED_STEPS = 20


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", type=int, nargs=3, default=(10, 21, 21))
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--base-batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    depths = {"decoder_depth": arguments.depth, "encoder_depth": max(1, arguments.depth // 2)}
    config = replace(PRESETS["base"], target_grid=Grid(*arguments.grid), **depths)
    told = {
        "beside": beside_peer(config, arguments.batch, arguments.rounds),
        "base": base_alone(arguments.base_batch, arguments.rounds),
    }
    told["loader"] = loader(told["base"][LOOP]["seconds"] / arguments.base_batch)
    print(json.dumps({"device": device().type, **told}))


def beside_peer(config, batch, rounds):
    # All pairs need as much memory as all others together, so they race alone.
    dense = replace(config, attention_backend="dense")
    large = race({ALL_PAIRS: (our_step, dense, batch, torch.float32)}, rounds)
    contestants = {
        **ours(config, batch),
        PEER: (their_step, config, batch, torch.float32),
        f"{PEER}, reversible": (their_step, config, batch, torch.float32, True),
        f"{PEER}, bfloat16": (their_step, config, batch, torch.bfloat16),
    }
    return report(config, batch, race({**contestants, **BOUNDS}, rounds) | large)


def base_alone(batch, rounds):
    config = PRESETS["base"]
    loop = {LOOP: (loop_step, config, batch)}
    return report(config, batch, race({**ours(config, batch), **loop, **BOUNDS}, rounds))


def ours(config, batch):
    return {
        "ours, float32": (our_step, config, batch, torch.float32),
        "ours, bfloat16": (our_step, config, batch, torch.bfloat16),
    }


def our_step(config, batch, dtype):
    start()
    model, example = Nuwa(config).to(device()), drawn_batch(config, batch)
    return training_step(model, lambda: next_token_loss(model(example), example.target), dtype)


def loop_step(config, batch):
    """What ``pipelines.training.loop`` does in a step, in the precision that it chooses."""
    start()
    training = replace(RUN_PRESETS["base"].training, batch_size=batch, num_workers=1)
    engine = start_engine(Nuwa(config), training, choose_precision())
    average, example = AveragedWeights(engine.module), drawn_batch(config, batch)

    def step():
        loss = next_token_loss(engine(example), example.target)
        engine.backward(loss)
        take_step(engine, 1e-4)
        average.update(0.99)

    return step


def drawn_batch(config, batch):
    target, text = drawn(config, batch)
    return Batch(
        task=TASK,
        target=target,
        condition=text[:, :, None, None],
        condition_mask=torch.ones_like(text, dtype=torch.bool),
    )


def their_step(config, batch, dtype, is_reversible=False):
    start()
    model = peers.nuwa_of(config, TokensOnly(config), dec_reversible=is_reversible).to(device())
    video, text = drawn(config, batch)
    return training_step(model, lambda: model(text=text, video=video, return_loss=True), dtype)


class TokensOnly(SimpleNamespace):
    """What nuwa-pytorch asks of a tokenizer when videos come as tokens."""

    def __init__(self, config):
        side = config.target_grid.h
        super().__init__(num_layers=0, image_size=side, codebook_size=config.codebook_size)

    def copy_for_eval(self):
        return self


def start():
    torch.manual_seed(0)
    memory.keep_freed()  # as ranks do


def drawn(config, batch):
    """Tokens of videos and of texts without padding."""
    target = torch.randint(config.codebook_size, (batch, *config.target_grid), device=device())
    text = torch.randint(1, config.text_vocabulary, (batch, config.text_length), device=device())
    return target, text


def training_step(model, loss_of, dtype):
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    cast = partial(torch.autocast, device().type, torch.bfloat16, enabled=dtype != torch.float32)

    def step():
        with cast():
            loss = loss_of()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def products(dtype):
    a, b, out = (torch.randn(SIDE, SIDE, device=device(), dtype=dtype) for _ in range(3))

    def multiply():
        for _ in range(PRODUCTS):
            torch.mm(a, b, out=out)

    return multiply


BOUNDS = {"float32": (products, torch.float32), "bfloat16": (products, torch.bfloat16)}


def report(config, batch, found):
    """Tokens a second, share of the rate of products, and times and memory against ours."""
    rates = {dtype: PRODUCTS * 2 * SIDE**3 / found.pop(dtype)[0] for dtype in BOUNDS}
    measured = ", ".join(f"{rate / 1e12:.2f} in {dtype}" for dtype, rate in rates.items())
    print(
        f"\n{config.encoder_depth} + {config.decoder_depth} layers of {config.dim}, "
        f"{batch} × {tuple(config.target_grid)} tokens of {config.codebook_size}, "
        f"{device().type}; TFLOP/s of products: {measured}"
    )
    tokens, base = batch * config.target_grid.num_cells, found["ours, float32"]
    told = {}
    for name, (seconds, used, problem) in found.items():
        if problem is not None:
            print(f"  {name:<30} {problem}")
            continue
        line = {"seconds": seconds, "slower": seconds / base[0], "memory": used / base[1]}
        if name.startswith("ours"):
            rate = rates[dtype_of(name)]
            line["mfu"] = flops_per_token(config, TASK) * tokens / seconds / rate
        told[name] = line
        print(
            f"  {name:<30} {seconds * 1e3:6.0f} ms, {tokens / seconds:5.0f} tokens/s, "
            f"{used:5.0f} MiB: ×{line['slower']:.2f} of our time, ×{line['memory']:.2f} of our "
            "memory" + (f", MFU {line['mfu']:.0%}" if "mfu" in line else "")
        )
    return told


def dtype_of(name):
    """What a contestant of ours multiplies in."""
    if name == LOOP:
        return choose_precision()
    return "bfloat16" if "bfloat16" in name else "float32"


def loader(seconds_each):
    """Tokens a second of batches of ``base``, and what of a step they take.

    Args:
        seconds_each: What a step takes for each video of a batch.
    """
    told = {}
    with tempfile.TemporaryDirectory() as store:
        write_tokens(store, PRESETS["base"])
        for batch in (1, 8, 128):
            read = made_loader(store, batch)
            read(0)
            taken = min(timed(partial(read_steps, read)) for _ in range(5)) / LOADED_STEPS
            tokens = batch * PRESETS["base"].target_grid.num_cells
            told[batch] = {"rate": tokens / taken, "share": taken / (batch * seconds_each)}
            print(
                f"  loader, batches of {batch:>3}: {tokens / taken / 1e6:6.1f} M tokens/s (wanted "
                f"20), {told[batch]['share']:.3%} of a step (wanted below 2 %)"
            )
    return told


def read_steps(read):
    for step in range(1000, 1000 + LOADED_STEPS):
        read(step)


def made_loader(store, batch):
    config = replace(RUN_PRESETS["base"], store=store)
    training = replace(config.training, batch_size=batch, tasks={TASK.name: 1.0})
    made = TrainingLoader(
        config,
        training,
        store_version=store_versions(store),
        fingerprint="drawn",
        text=Words(config.model.text_length),
    )
    return made.batch_at


class Words:
    """Texts as tokens, of any kind."""

    def __init__(self, length):
        self._length = length

    def encode(self, texts):
        tokens = torch.zeros(len(texts), self._length, dtype=torch.int64)
        tokens[:, :CAPTION] = 1
        return tokens, tokens != 0


def write_tokens(store, config):
    """A store of captioned videos, their tokens drawn."""
    grid = config.target_grid
    drawn = np.random.default_rng(0).integers(
        config.codebook_size, size=(CLIPS, grid.num_cells), dtype=np.uint16
    )
    rows = [
        {
            "clip_id": f"{number:05}",
            "dataset": "drawn",
            "split": "train",
            "kind": "video",
            "tokens": tokens.astype("<u2").tobytes(),
            "grid_s": grid.s,
            "grid_h": grid.h,
            "grid_w": grid.w,
            "text": [f"video {number}"],
            "tokenizer": "drawn",
        }
        for number, tokens in enumerate(drawn)
    ]
    table = StoreTable(store, "tokens")
    made = pa.Table.from_pylist(rows, schema=TOKENS)
    table.commit([write_shard(table.root, made, inputs={})])


if __name__ == "__main__":
    main()
