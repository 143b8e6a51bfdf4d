"""Tokens from a model: cached decoding in waves, the same samples as one token at a time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Int
from torch import Tensor

from nuwa_model.encoder import Context
from nuwa_model.errors import ConfigError, GridError
from nuwa_model.generation.cache import plan_pass
from nuwa_model.generation.frozen import Frozen, freeze
from nuwa_model.generation.noise import uniform
from nuwa_model.generation.sampling import Sampling, draw, guided
from nuwa_model.generation.schedule import Schedule, plan_passes
from nuwa_model.generation.stepper import Stepper
from nuwa_model.grid import Grid
from nuwa_model.model import Nuwa


class Wave(NamedTuple):
    """What one pass has finished.

    Attributes:
        cells: Numbers of its cells in raster order of the target.
        tokens: Theirs, drawn or given.
        is_drawn: Whether at least one of them was drawn.
        number: Of this pass, from 1.
        of: How many there will be.
    """

    cells: Int[Tensor, " m"]
    tokens: Int[Tensor, "b m"]
    is_drawn: bool
    number: int
    of: int


@dataclass(frozen=True)
class Samples:
    """What was generated.

    Attributes:
        tokens: ``(b, s, h, w)``.
        num_steps: Passes that sampled at least one cell.
    """

    tokens: Int[Tensor, "b s h w"]
    num_steps: int


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a model, beside its condition.

    Attributes:
        target_grid: Cells to write, at most the model's.
        sampling: How tokens are drawn.
        known: Tokens that are given, −1 where free.
        unconditional: The encoded empty condition; needed when ``sampling.guidance`` is not 1.
        schedule: ``wavefront`` or ``sequential``; they draw the same tokens.
        sample_ids: Number of each sample in its set, for the noise; default 0, 1, ….
        first_cell: Number of the target's first cell in a longer one, for the noise.
    """

    target_grid: Grid
    sampling: Sampling
    known: Int[Tensor, "b s h w"] | None = None
    unconditional: Context | None = None
    schedule: Schedule = "wavefront"
    sample_ids: Int[Tensor, " b"] | None = None
    first_cell: int = 0

    def repeated(self, times: int, sample_ids: Int[Tensor, " b"] | None) -> "Request":
        """Each row so many times, one after another, as ``Context.repeated``; with these ids."""
        known, empty = self.known, self.unconditional
        return replace(
            self,
            known=None if known is None else known.repeat_interleave(times, dim=0),
            unconditional=None if empty is None else empty.repeated(times),
            sample_ids=sample_ids,
        )


def in_round(on_wave: Callable[[Wave], None], number: int, of: int) -> Callable[[Wave], None]:
    """Tell of the passes of one round, the first is 0, as some of all rounds' passes."""

    def tell(wave: Wave) -> None:
        on_wave(wave._replace(number=number * wave.of + wave.number, of=of * wave.of))

    return tell


def generate(
    model: Nuwa | Frozen,
    condition: Context,
    *,
    target_grid: Grid,
    known: Int[Tensor, "b s h w"] | None = None,
    schedule: Schedule = "wavefront",
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    guidance: float = 1.0,
    num_samples: int = 1,
    unconditional: Context | None = None,
    sample_ids: Int[Tensor, " b"] | None = None,
    on_wave: Callable[[Wave], None] = lambda _wave: None,
) -> Samples:
    """Sample a batch of targets (spec §4).

    Cells condition on cells earlier in raster order only: a known cell cannot influence a free one
    that comes before it.

    Args:
        model: The transformer, in evaluation mode; frozen, where it is called more than once.
        condition: Encoded by ``model.encoder``, one row a prompt.
        target_grid: Cells to write, at most the model's.
        known: Tokens that are given, −1 where free; one row a prompt. The cells up to the first
            free one take one pass together, others run with their wave.
        schedule: ``wavefront``, or ``sequential`` for one cell at a time; the same tokens.
        seed: Of the noise; a cell's noise depends on seed, sample and cell only.
        temperature: Divides the logits; 0 takes the likeliest token.
        top_k: Keep this many tokens; 0 keeps all.
        top_p: Keep the likeliest tokens of this total probability, in (0, 1].
        guidance: Strength of classifier-free guidance; 1 is none.
        num_samples: Of each prompt; they lie one after another in the batch.
        unconditional: The encoded empty condition; needed when ``guidance`` is not 1.
        sample_ids: Number of each sample in its set, for the noise; default 0, 1, ….
        on_wave: Called with the cells of each pass as soon as they are drawn.

    Raises:
        GridError: The target is larger than the model's, or ``known`` has another shape.
        ConfigError: Guidance without an unconditional context, sampling settings without a
            meaning, or layers that see other cells than the schedule is made for.
    """
    sampling = Sampling(
        seed=seed, temperature=temperature, top_k=top_k, top_p=top_p, guidance=guidance
    )
    asked = Request(
        target_grid=target_grid,
        sampling=sampling,
        known=known,
        unconditional=unconditional,
        schedule=schedule,
    ).repeated(num_samples, sample_ids)
    return decode(model, condition.repeated(num_samples), asked, on_wave=on_wave)


def decode(
    model: Nuwa | Frozen,
    condition: Context,
    asked: Request,
    *,
    on_wave: Callable[[Wave], None] = lambda _wave: None,
) -> Samples:
    """All waves of ``decode_waves`` together.

    Raises:
        GridError, ConfigError: As ``generate`` says.
    """
    grid, device = asked.target_grid, condition.states.device
    tokens = torch.empty(len(condition), grid.num_cells, dtype=torch.long, device=device)
    num_steps = 0
    for wave in decode_waves(model, condition, asked):
        tokens[:, wave.cells] = wave.tokens
        num_steps += wave.is_drawn
        on_wave(wave)
    return Samples(tokens.reshape(-1, *grid), num_steps)


@torch.inference_mode()
def decode_waves(model: Nuwa | Frozen, condition: Context, asked: Request) -> Iterator[Wave]:
    """Decode pass by pass; every cell is in exactly one wave.

    Raises:
        GridError, ConfigError: As ``generate`` says.
    """
    _check_request(model, condition, asked)
    grid, sight = asked.target_grid, model.config.decoder_sight
    batch, device = len(condition), condition.states.device
    known = torch.full((batch, *grid), -1) if asked.known is None else asked.known
    given = rearrange(known.to(device), "b s h w -> b (s h w)")
    sample_ids = torch.arange(batch) if asked.sample_ids is None else asked.sample_ids
    contexts = [condition] if asked.unconditional is None else [condition, asked.unconditional]
    stepper = Stepper(freeze(model), contexts, grid)
    tokens, num_given = given.clamp(min=0), _num_given(given)
    is_free = (given < 0).any(dim=0).tolist()
    cells = torch.arange(grid.num_cells, device=device)
    noise = uniform(asked.sampling.seed, sample_ids.to(device), cells + asked.first_cell)
    passes = plan_passes(grid, sight, asked.schedule, num_given)
    of = len(passes) + (num_given > 0)
    if num_given:
        stepper.prefill(torch.cat([tokens] * len(contexts)), num_given)
        yield Wave(
            cells[:num_given], tokens[:, :num_given].clone(), is_drawn=False, number=1, of=of
        )
    for number, step in enumerate(passes, start=of - len(passes) + 1):
        plan = plan_pass(step, grid, sight, device)
        logits = stepper.step(plan, torch.cat([tokens] * len(contexts)))
        is_drawn = any(is_free[cell] for cell in step.cells(grid))
        if is_drawn:
            rows = guided(logits, batch, asked.sampling.guidance)
            drawn = draw(rows, noise[:, plan.cells], asked.sampling)
            known = given[:, plan.cells]
            tokens[:, plan.cells] = torch.where(known < 0, drawn, known)
        yield Wave(plan.cells, tokens[:, plan.cells], is_drawn, number, of)


def _num_given(given: Int[Tensor, "b t"]) -> int:
    """Leading cells that every sample was given."""
    return int((given >= 0).all(dim=0).long().cumprod(dim=0).sum())


def _check_request(model: Nuwa | Frozen, condition: Context, asked: Request) -> None:
    grid, largest, batch = asked.target_grid, model.config.target_grid, len(condition)
    if any(size > limit for size, limit in zip(grid, largest, strict=True)) or min(grid) < 1:
        raise GridError(
            f"A target of {tuple(grid)} is larger than the model's {tuple(largest)}, or empty."
        )
    if asked.known is not None and tuple(asked.known.shape) != (batch, *grid):
        raise GridError(f"Known tokens are {tuple(asked.known.shape)}; expected {(batch, *grid)}.")
    if asked.known is not None and int(asked.known.max()) >= model.config.codebook_size:
        raise GridError(
            f"Known tokens reach {int(asked.known.max())}; the model's codebook ends at "
            f"{model.config.codebook_size - 1}: encode them with the model's own tokenizer."
        )
    if asked.sample_ids is not None and len(asked.sample_ids) != batch:
        raise GridError(f"{len(asked.sample_ids)} sample_ids were given for {batch} samples.")
    if (asked.sampling.guidance != 1) != (asked.unconditional is not None):
        raise ConfigError(
            "Guidance other than 1 and an unconditional context belong together: give both."
        )
