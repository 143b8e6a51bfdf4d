"""Several candidates of each sample, and the one that fits its text best."""

from collections.abc import Callable
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from nuwa_model.encoder import Context
from nuwa_model.generation.sample import Samples, generate
from nuwa_model.model import Nuwa

Scorer = Callable[[Int[Tensor, "b s h w"], Context, Context], Float[Tensor, " b"]]
"""How well tokens fit a condition, given that condition and the empty one; more is better."""

_AT_ONCE = 64


def generate_best(
    model: Nuwa,
    condition: Context,
    *,
    empty: Context,
    num_candidates: int,
    scorer: Scorer | None = None,
    known: Int[Tensor, "b s h w"] | None = None,
    sample_ids: Int[Tensor, " b"] | None = None,
    **settings: Any,
) -> Samples:
    """Draw candidates of each sample and keep the best, as the paper keeps one of 60.

    Args:
        model: The transformer, in evaluation mode.
        condition: Encoded by ``model.encoder``, one row a sample.
        empty: The encoded empty condition, as many rows.
        num_candidates: For each sample; candidate *k* of sample *i* has the noise of sample
            ``i · num_candidates + k``.
        scorer: Says which is best; by default ``text_fit`` of the model itself.
        known: Tokens that are given, −1 where free.
        sample_ids: Number of each sample in its set, for the noise; default 0, 1, ….
        settings: Others of ``generate``.

    Raises:
        GridError, ConfigError: As ``generate`` says.
    """
    if num_candidates == 1:
        return generate(model, condition, known=known, sample_ids=sample_ids, **settings)
    batch, device = len(condition), condition.states.device
    scorer = scorer or (lambda *given: text_fit(model, *given))
    ids = torch.arange(batch, device=device) if sample_ids is None else sample_ids.to(device)
    best = torch.full((batch,), -torch.inf, dtype=torch.float64, device=device)
    tokens, num_steps = None, 0
    at_once = max(1, _AT_ONCE // batch)
    for start in range(0, num_candidates, at_once):
        numbers = torch.arange(start, min(start + at_once, num_candidates), device=device)
        drawn = generate(
            model,
            condition,
            known=known,
            num_samples=len(numbers),
            sample_ids=(ids[:, None] * num_candidates + numbers).flatten(),
            **settings,
        )
        both = [context.repeated(len(numbers)) for context in (condition, empty)]
        scores = rearrange(scorer(drawn.tokens, *both).double(), "(b n) -> b n", b=batch)
        candidates = rearrange(drawn.tokens, "(b n) s h w -> b n s h w", b=batch)
        highest, which = scores.max(dim=1)
        winner = candidates[torch.arange(batch, device=device), which]
        is_better = highest > best
        tokens = winner if tokens is None else torch.where(_cells(is_better), winner, tokens)
        best, num_steps = torch.where(is_better, highest, best), num_steps + drawn.num_steps
    assert tokens is not None
    return Samples(tokens, num_steps)


@torch.inference_mode()
def text_fit(
    model: Nuwa, tokens: Int[Tensor, "b s h w"], condition: Context, empty: Context
) -> Float[Tensor, " b"]:
    """How much likelier the tokens are with their condition than without, in nats.

    The logarithm of p(tokens | condition) / p(tokens), by the model's own reckoning: what is likely
    anyway, such as a plain background, earns nothing. It needs no other network.
    """
    fits = []
    for row, target in enumerate(tokens):  # logits of one sample at a time: they are large
        one = slice(row, row + 1)
        with_it, without = (
            _log_likelihood(model, target[None], context.rows(one))
            for context in (condition, empty)
        )
        fits.append(with_it - without)
    return torch.stack(fits)


def _log_likelihood(
    model: Nuwa, tokens: Int[Tensor, "1 s h w"], context: Context
) -> Float[Tensor, ""]:
    logits = model.decoder(tokens, context).double()
    return -torch.nn.functional.cross_entropy(
        rearrange(logits, "1 s h w v -> (s h w) v"), tokens.flatten(), reduction="sum"
    )


def _cells(rows: Tensor) -> Tensor:
    return rearrange(rows, "b -> b 1 1 1")
