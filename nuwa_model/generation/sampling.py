"""How a token is drawn from its logits."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from nuwa_model.errors import ConfigError

_LEAST_TEMPERATURE = 1e-6
"""By less, logits in float32 are divided out of its range."""


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
        is_finite = math.isfinite(self.temperature) and math.isfinite(self.guidance)
        is_warm = self.temperature == 0 or self.temperature >= _LEAST_TEMPERATURE
        is_right = is_warm and self.top_k >= 0 and 0 < self.top_p <= 1
        if not (is_finite and is_right):
            raise ConfigError(
                f"Sampling needs a temperature of 0 or at least {_LEAST_TEMPERATURE:g}, top_k ≥ 0, "
                "top_p in (0, 1] and a finite guidance; "
                f"got {self.temperature}, {self.top_k}, {self.top_p}, {self.guidance}."
            )


def draw(
    logits: Float[Tensor, "b m v"], noise: Float[Tensor, "b m"], sampling: Sampling
) -> Int[Tensor, "b m"]:
    """Draw a token for each row of logits by inverting its cumulative distribution at the noise."""
    if sampling.temperature == 0:
        return logits.argmax(dim=-1)
    logits = _at_least_float(logits) / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    probabilities = logits.softmax(dim=-1)
    if sampling.top_p < 1:
        probabilities = _keep_top_p(probabilities, sampling.top_p)
    cumulative = probabilities.cumsum(dim=-1, dtype=torch.float64)
    threshold = noise.unsqueeze(-1) * cumulative[..., -1:]
    found = torch.searchsorted(cumulative, threshold, right=True).squeeze(-1)
    return found.clamp(max=logits.shape[-1] - 1)


def guided(logits: Float[Tensor, "bb m v"], batch: int, guidance: float) -> Float[Tensor, "b m v"]:
    """Away from what the model says without a condition (Ho and Salimans 2022).

    Args:
        logits: Of a batch with its condition and, where guidance is not 1, once more without.
        batch: Samples.
        guidance: 1 changes nothing.
    """
    if len(logits) == batch:
        return logits
    conditional, unconditional = _at_least_float(logits).split(batch)
    return unconditional + guidance * (conditional - unconditional)


def _at_least_float(logits: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """Not in the eight bits of bfloat16."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _keep_top_p(probabilities: Float[Tensor, "b m v"], top_p: float) -> Float[Tensor, "b m v"]:
    """Zero all but the fewest tokens that reach ``top_p`` together."""
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    kept = ordered.masked_fill(before >= top_p, 0)
    return torch.zeros_like(probabilities).scatter(-1, order, kept)
