"""What shape a model has. Frozen, plain, and free of torch, so that planning a run is instant."""

import math
from dataclasses import asdict, dataclass
from typing import Any, get_args

from nuwa_model.errors import ConfigError, RangeError, UnknownNameError, refuse_outside
from nuwa_model.grid import Extent, Grid
from nuwa_model.sight import AttentionKind, Sight, sight_of

RGB_CHANNELS = 3
MOST_CLASSES = 256
"""The labels of a sketch are bytes."""

_SOME = (1, math.inf)
_UNUSED = (("encoder_attention", "nearby"), ("decoder_attention", "nearby"))
"""Settings of the model that came later: while they are not used, earlier runs keep their names."""
_NARROWEST_HEAD = 12
"""Of a rotary model: two pairs an axis. With one alone, cells four apart would be turned alike."""


@dataclass(frozen=True, kw_only=True)
class VQGANConfig:
    """Shape of a VQ-GAN, in the terms of Esser et al. 2021 (taming-transformers).

    Args:
        channels: Channels of a picture: 3 for frames, the number of classes for sketches.
        resolution: Height and width in pixels that attention blocks are placed for.
        width: Channels of the first convolution.
        width_multipliers: Width of each level as a multiple of ``width``; each level after the
            first halves the picture.
        num_res_blocks: Residual blocks a level.
        attention_resolutions: Levels of this many pixels (of ``resolution``) get attention.
        latent_channels: Channels between the convolutions and the quantizer.
        codebook_size: Number of tokens.
        codebook_dim: Length of a codebook vector.
        is_local: Let a token depend on the ``factor`` × ``factor`` pixels under it only; published
            checkpoints are not local.
        is_cosine: Compare directions: latents and codebook vectors have length one (Yu et al. 2022,
            https://arxiv.org/abs/2110.04627); published checkpoints compare distances.
    """

    channels: int = 3
    resolution: int = 32
    width: int = 16
    width_multipliers: tuple[int, ...] = (1, 2, 2, 2)
    num_res_blocks: int = 1
    attention_resolutions: tuple[int, ...] = ()
    latent_channels: int = 32
    codebook_size: int = 64
    codebook_dim: int = 32
    is_local: bool = False
    is_cosine: bool = False

    def __post_init__(self) -> None:
        """Refuse contradictions here, so that no module has to."""
        refuse_outside(
            self,
            channels=(1, MOST_CLASSES),
            resolution=_SOME,
            width=_SOME,
            num_res_blocks=_SOME,
            latent_channels=_SOME,
            codebook_size=_SOME,
            codebook_dim=_SOME,
        )
        if not self.width_multipliers or min(self.width_multipliers) < 1:
            raise RangeError(self, "width_multipliers", "one number a level, each at least 1")
        if self.codebook_size > 65_536:
            raise RangeError(self, "codebook_size", "at most 65536, the token store's 16 bits")
        if self.resolution % self.factor:
            raise RangeError(
                self,
                "resolution",
                f"a multiple of the compression, {self.factor} for "
                f"{len(self.width_multipliers)} width_multipliers",
            )
        levels = [self.resolution >> level for level in range(len(self.width_multipliers))]
        if not set(self.attention_resolutions) <= set(levels):
            raise RangeError(
                self,
                "attention_resolutions",
                f"some of {levels}, the pixels of each level at resolution {self.resolution}",
            )

    @property
    def factor(self) -> int:
        """Pixels to a token along one side."""
        return 2 ** (len(self.width_multipliers) - 1)

    @property
    def is_for_sketches(self) -> bool:
        """Whether channels are classes."""
        return self.channels != RGB_CHANNELS

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, which names and fingerprints are made of.

        One that came later and is not used is left out, so that those of older tokenizers stay.
        """
        fields = asdict(self)
        return fields if self.is_cosine else {k: v for k, v in fields.items() if k != "is_cosine"}


@dataclass(frozen=True, kw_only=True)
class NuwaConfig:
    """Shape of the encoder-decoder.

    Args:
        dim: Width of the residual stream.
        num_heads: Attention heads; must divide ``dim``.
        encoder_depth: Layers over the condition.
        decoder_depth: Layers over the target.
        feed_forward_multiplier: Hidden width of the feed-forward as a multiple of ``dim``.
        target_grid: The largest target; an image is its first frame.
        extent: Full odd width of the attention window over frames, as (s, h, w).
        is_rotary: Turn the decoder's queries and keys by their position, its own and a sketch's,
            beside the paper's tables: it learns to look one frame back, or at the same place of
            the sketch, in far fewer steps. Not in the paper.
        text_vocabulary: Size of the text tokenizer's vocabulary, padding included.
        text_length: Tokens of a text after padding.
        codebook_size: Tokens of the visual tokenizer.
        codebook_dim: Length of its codebook vectors.
        sketch_codebook_size: Tokens of the sketch tokenizer.
        sketch_codebook_dim: Length of its codebook vectors.
        encoder_attention: What a cell of the condition sees of it: ``nearby``, inside the window;
            ``full``, everything; ``axial``, the three lines through it. The last two are baselines.
        decoder_attention: What a target cell sees of earlier cells, and of the condition.
        attention_backend: Name in ``nuwa_model.attention.BACKENDS``, or ``auto``.
    """

    dim: int = 64
    num_heads: int = 4
    encoder_depth: int = 2
    decoder_depth: int = 2
    feed_forward_multiplier: int = 4
    target_grid: Grid = Grid(10, 4, 4)
    extent: Extent = Extent(3, 3, 3)
    is_rotary: bool = False
    text_vocabulary: int = 512
    text_length: int = 32
    codebook_size: int = 64
    codebook_dim: int = 32
    sketch_codebook_size: int = 32
    sketch_codebook_dim: int = 32
    encoder_attention: AttentionKind = "nearby"
    decoder_attention: AttentionKind = "nearby"
    attention_backend: str = "auto"

    def __post_init__(self) -> None:
        """Refuse contradictions here, so that no module has to."""
        refuse_outside(
            self,
            dim=_SOME,
            num_heads=_SOME,
            encoder_depth=_SOME,
            decoder_depth=_SOME,
            feed_forward_multiplier=_SOME,
            text_vocabulary=_SOME,
            text_length=_SOME,
            codebook_size=_SOME,
            codebook_dim=_SOME,
            sketch_codebook_size=_SOME,
            sketch_codebook_dim=_SOME,
        )
        if min(self.target_grid) < 1:
            raise ConfigError(f"target_grid {tuple(self.target_grid)} must have at least one cell.")
        if self.dim % self.num_heads:
            nearest = max(1, round(self.dim / self.num_heads)) * self.num_heads
            raise ConfigError(
                f"model.dim ({self.dim}) must be a multiple of model.num_heads "
                f"({self.num_heads}); the nearest that is, is {nearest}."
            )
        if self.is_rotary and (self.head_dim % 2 or self.head_dim < _NARROWEST_HEAD):
            raise ConfigError(
                f"model.is_rotary turns pairs of numbers on three axes, so the width of a head "
                f"(model.dim / model.num_heads = {self.head_dim}) must be even and at least "
                f"{_NARROWEST_HEAD}: change model.dim or model.num_heads."
            )
        for kind in (self.encoder_attention, self.decoder_attention):
            if kind not in get_args(AttentionKind):
                raise UnknownNameError("kind of attention", kind, get_args(AttentionKind))
        self.extent.radius(self.target_grid)

    def as_dict(self) -> dict[str, Any]:
        """The settings as plain values, which names are made of, without unused later ones."""
        return {k: v for k, v in asdict(self).items() if (k, v) not in _UNUSED}

    @property
    def decoder_sight(self) -> Sight:
        """What the decoder sees of earlier cells."""
        return sight_of(self.decoder_attention, self.extent)

    @property
    def head_dim(self) -> int:
        """Width of an attention head."""
        return self.dim // self.num_heads

    @property
    def text_grid(self) -> Grid:
        """Cells of a text."""
        return Grid(self.text_length, 1, 1)

    @property
    def text_extent(self) -> Extent:
        """A text token sees the whole text."""
        return Extent(math.inf, 1, 1)

    @property
    def image_grid(self) -> Grid:
        """Cells of an image: one frame."""
        return self.target_grid._replace(s=1)
