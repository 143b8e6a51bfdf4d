"""Tokens from a model: cached decoding in waves, the same samples as one token at a time."""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from nuwa_model.encoder import Context
from nuwa_model.errors import ConfigError, GridError
from nuwa_model.generation.cache import plan_pass
from nuwa_model.generation.noise import uniform
from nuwa_model.generation.schedule import Schedule, plan_passes
from nuwa_model.generation.stepper import Stepper
from nuwa_model.grid import Grid
from nuwa_model.model import Nuwa


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
class Sampling:
    """How a token is drawn from its logits.

    Attributes:
        seed: Of the noise; a cell's noise depends on seed, sample and cell only.
        temperature: Divides the logits; 0 takes the likeliest token.
        top_k: Keep this many tokens; 0 keeps all.
        top_p: Keep the likeliest tokens of this total probability, in (0, 1].
        guidance: Strength of classifier-free guidance; 1 is none.
    """

    seed: int = 0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    guidance: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if not self.temperature >= 0 or self.top_k < 0 or not 0 < self.top_p <= 1:
            raise ConfigError(
                f"Sampling needs temperature ≥ 0, top_k ≥ 0 and top_p in (0, 1]; got "
                f"{self.temperature}, {self.top_k}, {self.top_p}."
            )


@torch.inference_mode()
def generate(
    model: Nuwa,
    context: Context,
    *,
    target_grid: Grid,
    sampling: Sampling,
    known: Int[Tensor, "b s h w"] | None = None,
    unconditional: Context | None = None,
    schedule: Schedule = "wavefront",
    sample_ids: Int[Tensor, " b"] | None = None,
) -> Samples:
    """Sample a batch of targets (spec §4).

    Cells condition on cells earlier in raster order only: a known cell cannot influence a free one
    that comes before it.

    Args:
        model: The transformer, in evaluation mode.
        context: The encoded condition, one row a sample.
        target_grid: Cells to write, at most the model's.
        sampling: How tokens are drawn.
        known: Tokens that are given, −1 where free.
        unconditional: The encoded empty condition; needed when ``sampling.guidance`` is not 1.
        schedule: ``wavefront`` or ``sequential``; they draw the same tokens.
        sample_ids: Number of each sample in its set, for the noise; default 0, 1, ….

    Raises:
        GridError: The target is larger than the model's, or ``known`` has another shape.
        ConfigError: Guidance without an unconditional context.
    """
    batch, device = len(context.states), context.states.device
    _check_request(model, target_grid, known, batch, sampling, unconditional)
    shape = (batch, *target_grid)
    given = torch.full(shape, -1, device=device) if known is None else known.to(device)
    given = rearrange(given, "b s h w -> b (s h w)")
    sample_ids = torch.arange(batch, device=device) if sample_ids is None else sample_ids
    contexts = [context] if unconditional is None else [context, unconditional]
    stepper = Stepper(model, contexts, target_grid)
    tokens, num_steps = given.clamp(min=0), 0
    sight = model.config.decoder_sight
    for step in plan_passes(target_grid, sight, schedule, _known_frames(given, target_grid)):
        plan = plan_pass(step, target_grid, sight, device)
        logits = stepper.step(plan, torch.cat([tokens] * len(contexts)))
        is_cell = plan.cells >= 0
        cells = plan.cells[is_cell]
        free = given[:, cells] < 0
        if not free.any():
            continue
        noise = uniform(sampling.seed, sample_ids, cells)
        drawn = draw(_guided(logits[:, is_cell], batch, sampling.guidance), noise, sampling)
        tokens[:, cells] = torch.where(free, drawn, tokens[:, cells])
        num_steps += 1
    return Samples(tokens.reshape(shape), num_steps)


def draw(
    logits: Float[Tensor, "b m v"], noise: Float[Tensor, "b m"], sampling: Sampling
) -> Int[Tensor, "b m"]:
    """Draw a token for each row of logits by inverting its cumulative distribution at the noise."""
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits.double() / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    probabilities = logits.softmax(dim=-1)
    if sampling.top_p < 1:
        probabilities = _keep_top_p(probabilities, sampling.top_p)
    cumulative = probabilities.cumsum(dim=-1)
    threshold = noise.unsqueeze(-1) * cumulative[..., -1:]
    return (cumulative <= threshold).sum(dim=-1).clamp(max=logits.shape[-1] - 1)


def _keep_top_p(probabilities: Float[Tensor, "b m v"], top_p: float) -> Float[Tensor, "b m v"]:
    """Zero all but the fewest tokens that reach ``top_p`` together."""
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = ordered.masked_fill(before >= top_p, 0)
    return torch.zeros_like(probabilities).scatter(-1, order, kept)


def _guided(logits: Float[Tensor, "bb m v"], batch: int, guidance: float) -> Float[Tensor, "b m v"]:
    if len(logits) == batch:
        return logits
    conditional, unconditional = logits.double().split(batch)
    return unconditional + guidance * (conditional - unconditional)


def _known_frames(given: Int[Tensor, "b t"], grid: Grid) -> int:
    """Leading frames that every sample was given whole."""
    frames = rearrange(given, "b (s hw) -> s (b hw)", s=grid.s)
    is_known = (frames >= 0).all(dim=1).long()
    return int(is_known.cumprod(dim=0).sum())


def _check_request(
    model: Nuwa,
    target_grid: Grid,
    known: Int[Tensor, "b s h w"] | None,
    batch: int,
    sampling: Sampling,
    unconditional: Context | None,
) -> None:
    largest = model.config.target_grid
    if any(size > limit for size, limit in zip(target_grid, largest, strict=True)):
        raise GridError(
            f"A target of {tuple(target_grid)} is larger than the model's {tuple(largest)}."
        )
    if known is not None and tuple(known.shape) != (batch, *target_grid):
        raise GridError(f"Known tokens are {tuple(known.shape)}; expected {(batch, *target_grid)}.")
    if (sampling.guidance != 1) != (unconditional is not None):
        raise ConfigError(
            "Guidance other than 1 and an unconditional context belong together: give both."
        )
