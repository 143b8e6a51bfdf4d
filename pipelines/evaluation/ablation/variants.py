"""What is compared: pure functions of the settings, free of torch."""

import math
from dataclasses import dataclass, replace

from nuwa_model.config import VQGANConfig
from nuwa_model.errors import ConfigError
from pipelines import names
from pipelines.config import RunConfig, TokenizerTrainingConfig

SHRINK = 2
"""Pixels of a clip, along each side, to one of the pictures that all variants are measured on."""

_LEAST_PIXELS = 24
"""Along a side: a smaller picture has no patch left after the layers of the discriminator."""

_BITS_A_PIXEL = 24


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One way to make tokens of a picture.

    Attributes:
        name: Part of the names of its artifacts.
        title: What a reader calls it.
        vqgan: Shape of the model.
        training: How it is trained, with the first seed.
        size: Height and width of its pictures in pixels.
        shrink: Pixels of a clip, along each side, to one of these pictures.
    """

    name: str
    title: str
    vqgan: VQGANConfig
    training: TokenizerTrainingConfig
    size: int
    shrink: int

    @property
    def side(self) -> int:
        """Tokens along each side of a picture."""
        return self.size // self.vqgan.factor

    @property
    def num_tokens(self) -> int:
        """Tokens of a picture."""
        return self.side**2

    @property
    def bits(self) -> float:
        """Bits that the tokens of a picture take, each of the same length."""
        return self.num_tokens * math.log2(self.vqgan.codebook_size)

    @property
    def compression(self) -> float:
        """Bits of a picture of this size to those of its tokens."""
        return self.size**2 * _BITS_A_PIXEL / self.bits if self.bits else math.inf

    def trainings(self, count: int) -> tuple[TokenizerTrainingConfig, ...]:
        """The training with the first seed and those after it."""
        first = self.training.seed
        return tuple(replace(self.training, seed=first + number) for number in range(count))

    def artifact_name(self, training: TokenizerTrainingConfig) -> str:
        """The artifact of one of its trainings."""
        return names.ablation_name(self.name, self.vqgan, training, self.size)


def make_variants(config: RunConfig) -> tuple[Variant, ...]:
    """The four variants that these settings mean, in the order of NÜWA's Table 4.

    Two differ in the losses alone; the other two have four times the tokens, one by four times the
    pixels and one by half the compression along each side.

    Raises:
        ConfigError: The settings leave nothing to compare.
    """
    _refuse(config)
    vqgan, size = config.vqgan, config.clips.size // SHRINK
    judged = _training(config)
    # What has no effect is set to nothing, so that it has none on the name either.
    plain = replace(
        judged,
        adversarial_weight=0.0,
        adversarial_start=0,
        perceptual_weight=0.0,
        vgg16="",
        lpips="",
    )
    small = {"size": size, "shrink": SHRINK}
    return (
        Variant(name="vqvae", title="VQ-VAE", vqgan=vqgan, training=plain, **small),
        Variant(name="vqgan", title="VQ-GAN", vqgan=vqgan, training=judged, **small),
        Variant(
            name="vqgan-large",
            title="VQ-GAN, four times the pixels",
            vqgan=vqgan,
            training=judged,
            size=config.clips.size,
            shrink=1,
        ),
        Variant(
            name="vqgan-half",
            title="VQ-GAN, half the compression",
            vqgan=half_compression(vqgan),
            training=judged,
            **small,
        ),
    )


def half_compression(vqgan: VQGANConfig) -> VQGANConfig:
    """The same with one level less: the one before the deepest, which keeps its attention.

    So does the published family shrink: ``nuwa_870m``'s VQ-GAN becomes ``nuwa_256``'s.

    Raises:
        ConfigError: There is but one level.
    """
    if vqgan.factor == 1:
        raise ConfigError(
            f"vqgan.width_multipliers {vqgan.width_multipliers} is one level, whose compression "
            "cannot be halved: give it two or more, e.g. [1,2]."
        )
    deepest = vqgan.resolution // vqgan.factor
    moved = (2 * one if one == deepest else one for one in vqgan.attention_resolutions)
    return replace(
        vqgan,
        width_multipliers=(*vqgan.width_multipliers[:-2], vqgan.width_multipliers[-1]),
        attention_resolutions=tuple(dict.fromkeys(moved)),
    )


def _training(config: RunConfig) -> TokenizerTrainingConfig:
    """That of the frame tokenizer, in as many steps as the ablation has."""
    training = config.vqgan_training
    steps = config.ablation.steps or training.steps
    start = round(training.adversarial_start * steps / training.steps)
    return replace(training, steps=steps, adversarial_start=start)


def _refuse(config: RunConfig) -> None:
    size, factor, training = config.clips.size, config.vqgan.factor, config.vqgan_training
    if size % (SHRINK * factor) or size < SHRINK * _LEAST_PIXELS:
        raise ConfigError(
            f"clips.size ({size}) must be a multiple of {SHRINK * factor} and at least "
            f"{SHRINK * _LEAST_PIXELS}: variants are compared on pictures of half that size, which "
            f"must be a multiple of vqgan's compression ({factor}) and at least {_LEAST_PIXELS} "
            "for its discriminator."
        )
    if training.adversarial_weight == 0:
        raise ConfigError(
            "vqgan_training.adversarial_weight is 0, so that no VQ-GAN could be compared with a "
            "VQ-VAE: set it above 0, e.g. 0.1."
        )
    taken = _training(config)
    if taken.adversarial_start >= taken.steps:
        raise ConfigError(
            f"vqgan_training.adversarial_start ({training.adversarial_start}) of "
            f"vqgan_training.steps ({training.steps}) leaves the discriminator none of the "
            f"ablation's {taken.steps}: lower it, or set ablation.steps higher."
        )
