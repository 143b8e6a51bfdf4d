"""Several candidates of each sample, and the one that fits best what is given."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from nuwa_model.encoder import Context
from nuwa_model.errors import ConfigError
from nuwa_model.generation.frozen import Frozen, freeze
from nuwa_model.generation.sample import Request, Samples, Wave, decode, in_round
from nuwa_model.model import Nuwa


class Scorer(Protocol):
    """Says how good candidates are; more is better."""

    def __call__(
        self,
        tokens: Int[Tensor, "b s h w"],
        is_given: Bool[Tensor, "b s h w"],
        condition: Context,
        empty: Context,
    ) -> Float[Tensor, " b"]:
        """Score each row.

        Args:
            tokens: Of the candidates.
            is_given: Which of them were not drawn.
            condition: Of each candidate.
            empty: The empty condition of each.
        """


_AT_ONCE = 64
_MOST_LOGITS = 1 << 24


def generate_best(
    model: Nuwa | Frozen,
    condition: Context,
    asked: Request,
    *,
    num_candidates: int = 1,
    empty: Context | None = None,
    scorer: Scorer | None = None,
    on_wave: Callable[[Wave], None] = lambda _wave: None,
) -> Samples:
    """Draw candidates of each sample and keep the best, as the paper keeps one of 60.

    Args:
        model: The transformer, in evaluation mode; frozen, where it is called more than once.
        condition: Encoded by ``model.encoder``, one row a sample.
        asked: For one candidate; candidate *k* of sample *i* has the noise of sample
            ``i · num_candidates + k``.
        num_candidates: For each sample.
        empty: The encoded empty condition, as many rows; needed for more than one candidate.
        scorer: Says which is best; by default ``fit`` of the model itself.
        on_wave: Called with the cells of each pass, of all candidates of a round.

    Raises:
        GridError: As ``generate`` says.
        ConfigError: Likewise, or there are no candidates, or several without the empty condition.
    """
    if num_candidates == 1:
        return decode(model, condition, asked, on_wave=on_wave)
    if num_candidates < 1 or empty is None:
        raise ConfigError(
            f"{num_candidates} candidates were asked for: at least 1 is needed, and for more than "
            "one the empty condition."
        )
    frozen = freeze(model)
    batch, device = len(condition), condition.states.device
    scorer = scorer or partial(fit, frozen.model)
    ids = torch.arange(batch) if asked.sample_ids is None else asked.sample_ids
    is_given = _is_given(asked, batch).to(device)
    best = torch.full((batch,), -torch.inf, dtype=torch.float64, device=device)
    tokens, num_steps = None, 0
    at_once = max(1, _AT_ONCE // batch)
    starts = range(0, num_candidates, at_once)
    for number, start in enumerate(starts):
        numbers = torch.arange(start, min(start + at_once, num_candidates), device=ids.device)
        times = len(numbers)
        told = condition.repeated(times)
        drawn = decode(
            frozen,
            told,
            asked.repeated(times, (ids[:, None] * num_candidates + numbers).flatten()),
            on_wave=in_round(on_wave, number, len(starts)),
        )
        given = is_given.repeat_interleave(times, dim=0)
        scores = scorer(drawn.tokens, given, told, empty.repeated(times))
        scores = rearrange(scores.double(), "(b n) -> b n", b=batch)
        candidates = rearrange(drawn.tokens, "(b n) s h w -> b n s h w", b=batch)
        highest, which = scores.max(dim=1)
        winner = candidates[torch.arange(batch, device=device), which]
        is_better = highest > best
        tokens = winner if tokens is None else torch.where(_cells(is_better), winner, tokens)
        best, num_steps = torch.where(is_better, highest, best), num_steps + drawn.num_steps
    assert tokens is not None
    return Samples(tokens, num_steps)


def _is_given(asked: Request, batch: int) -> Bool[Tensor, "b s h w"]:
    if asked.known is None:
        return torch.zeros(batch, *asked.target_grid, dtype=torch.bool)
    return asked.known >= 0


@torch.inference_mode()
def fit(
    model: Nuwa,
    tokens: Int[Tensor, "b s h w"],
    is_given: Bool[Tensor, "b s h w"],
    condition: Context,
    empty: Context,
) -> Float[Tensor, " b"]:
    """How well drawn tokens fit their condition, and the given tokens fit what was drawn, in nats.

    Drawn cells count log p(token | condition) − log p(token), by the model's own reckoning: what is
    likely anyway, such as a plain background, earns nothing. Given cells count log p(token |
    condition), each after all cells before it: a hole is drawn without a look at what is known
    below it, and of several ways to fill it the best goes on as what is known does. No other
    network is needed.
    """
    scores = []
    rows = max(1, _MOST_LOGITS // (tokens[0].numel() * model.config.codebook_size))
    for start in range(0, len(tokens), rows):
        part = slice(start, start + rows)
        told, untold = (
            _log_likelihood(model, tokens[part], context.rows(part))
            for context in (condition, empty)
        )
        scores.append((told - untold.masked_fill(is_given[part], 0)).sum(dim=(1, 2, 3)))
    return torch.cat(scores)


def _log_likelihood(
    model: Nuwa, tokens: Int[Tensor, "b s h w"], context: Context
) -> Float[Tensor, "b s h w"]:
    logits = model.decoder(tokens, context).double()
    return -F.cross_entropy(rearrange(logits, "b s h w v -> b v s h w"), tokens, reduction="none")


def _cells(rows: Tensor) -> Tensor:
    return rearrange(rows, "b -> b 1 1 1")
