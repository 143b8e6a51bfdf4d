"""Weights of the family that Esser et al. 2021 published (taming-transformers), for our modules."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from nuwa_model.errors import WeightsError
from nuwa_model.tokenizers.checkpoints import read_tensors

_NOT_THE_MODEL = ("loss.", "model_ema.", "colorize")
"""Discriminator, perceptual network, running means and (of sketches) the colors of drawn classes,
which a checkpoint of training holds too."""

_OF_RANKS = "module."
"""Before every name, where a model was saved with what DistributedDataParallel wraps around it."""

_GUMBEL = "quantize.embed.weight"
_MOST_NAMED = 4


def published_weights(source: Path | str | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of encoder, decoder and codebook, under their published names.

    Args:
        source: A published file, or a state dict.

    Raises:
        WeightsError: The file cannot be read, or quantizes by Gumbel noise.
    """
    found = source if isinstance(source, Mapping) else read_tensors(source)
    weights = {name.removeprefix(_OF_RANKS): weight for name, weight in found.items()}
    if _GUMBEL in weights:
        raise WeightsError(
            f"These weights have {_GUMBEL}, as a GumbelVQ of taming-transformers has, whose tokens "
            "are no nearest neighbors; expected a VQModel."
        )
    return {name: w for name, w in weights.items() if not name.startswith(_NOT_THE_MODEL)}


def refuse_misfit(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse weights of another network.

    Args:
        weights: As published.
        expected: A state dict of the network they are for.

    Raises:
        WeightsError: Names are missing or unexpected, or shapes differ; the message names them.
    """
    odd = [
        f"{name} is {tuple(weights[name].shape)} and not {tuple(expected[name].shape)}"
        for name in sorted(set(weights) & set(expected))
        if weights[name].shape != expected[name].shape
    ]
    problems = [
        f"{what} {_named(names)}"
        for what, names in (
            ("missing:", sorted(set(expected) - set(weights))),
            ("unexpected:", sorted(set(weights) - set(expected))),
            ("of another shape:", odd),
        )
        if names
    ]
    if problems:
        raise WeightsError(
            f"The weights do not fit the config; {'; '.join(problems)}. Expected a VQModel of "
            "taming-transformers, with width, width_multipliers, num_res_blocks, "
            "attention_resolutions, latent_channels, codebook_size and codebook_dim as the "
            "checkpoint's own config has them."
        )


def refuse_damage(weights: Mapping[str, Tensor]) -> None:
    """Refuse weights that would make tokens of nothing.

    Raises:
        WeightsError: Some are no real numbers, not finite, or none at all.
    """
    odd = [
        name
        for name, weight in sorted(weights.items())
        if not (weight.is_floating_point() and weight.numel() and bool(weight.isfinite().all()))
    ]
    if odd:
        raise WeightsError(
            f"These weights are not finite numbers: {_named(odd)}; the file is damaged, or of a "
            "training that failed."
        )


def _named(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
