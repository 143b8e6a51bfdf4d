"""The shape of a published VQ-GAN, read off the names and shapes of its weights."""

from collections.abc import Mapping
from itertools import count, takewhile

from torch import Tensor

from nuwa_model.config import VQGANConfig
from nuwa_model.errors import ConfigError, WeightsError
from nuwa_model.tokenizers.vqgan.autoencoder import CHANNELS_A_GROUP, MOST_GROUPS

PLACED_FOR = 256
"""Pixels that the published configurations place attention for.

No weight tells it. It is right whatever the weights were trained on: ``resolution`` only says which
level an entry of ``attention_resolutions`` means, and both are made here from one level.
"""

_CODEBOOK = "quantize.embedding.weight"
_NARROWEST = MOST_GROUPS * CHANNELS_A_GROUP


def published_config(weights: Mapping[str, Tensor]) -> VQGANConfig:
    """The config that weights of the published family fit, if any does.

    Only names and shapes are looked at, of as few weights as tell it; whether all the others fit
    too, ``refuse_misfit`` says.

    Args:
        weights: As ``published_weights`` gives them; on the meta device, if need be.

    Raises:
        WeightsError: A weight that tells something is not there, or the network is one that ours
            does not compute.
    """
    num_levels = _count(weights, "encoder.down.{}.block.0.conv1.weight")
    num_res_blocks = _count(weights, "encoder.down.0.block.{}.conv1.weight")
    width, channels = _sizes(weights, "encoder.conv_in.weight", 4)[:2]
    codebook_size, codebook_dim = _sizes(weights, _CODEBOOK, 2)
    first = [f"encoder.down.{level}.block.0.conv1.weight" for level in range(num_levels)]
    widths = [_sizes(weights, name, 4)[0] for name in first]
    _refuse_odd_widths(width, widths)
    attended = [n for n in range(num_levels) if f"encoder.down.{n}.attn.0.q.weight" in weights]
    try:
        return VQGANConfig(
            channels=channels,
            resolution=PLACED_FOR,
            width=width,
            width_multipliers=tuple(each // width for each in widths),
            num_res_blocks=num_res_blocks,
            attention_resolutions=tuple(PLACED_FOR // 2**level for level in attended),
            latent_channels=_sizes(weights, "encoder.conv_out.weight", 4)[0],
            codebook_size=codebook_size,
            codebook_dim=codebook_dim,
        )
    except ConfigError as error:
        raise WeightsError(f"These weights are of no VQ-GAN that can be used: {error}") from error


def _count(weights: Mapping[str, Tensor], name: str) -> int:
    """How many weights there are of a name with a number in it, from 0 on."""
    return sum(1 for _ in takewhile(lambda i: name.format(i) in weights, count()))


def _sizes(weights: Mapping[str, Tensor], name: str, num_axes: int) -> tuple[int, ...]:
    if name not in weights or weights[name].ndim != num_axes:
        found = f"of shape {tuple(weights[name].shape)}" if name in weights else "not there"
        raise WeightsError(
            f"The shape of a VQ-GAN cannot be read off these weights, {name} is {found}: expected "
            "those of a VQModel of taming-transformers."
        )
    return tuple(weights[name].shape)


def _refuse_odd_widths(width: int, widths: list[int]) -> None:
    """Refuse what no config says, and what ours would compute otherwise without a word."""
    if width < _NARROWEST:
        raise WeightsError(
            f"These weights are {width} channels wide, but below {_NARROWEST} we normalize over "
            f"fewer groups than the published {MOST_GROUPS}, and tokens would be others: take a "
            f"checkpoint of {_NARROWEST} or more."
        )
    odd = [each for each in widths if each % width]
    if odd:
        raise WeightsError(
            f"A level of these weights is {odd[0]} channels wide, no multiple of the first "
            f"convolution's {width}: expected a VQModel of taming-transformers."
        )
