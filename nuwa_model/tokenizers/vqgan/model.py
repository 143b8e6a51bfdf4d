"""A VQ-GAN: pictures to a grid of tokens and back."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nuwa_model.config import VQGANConfig
from nuwa_model.errors import GridError, PixelsError, WeightsError
from nuwa_model.tokenizers.pixels import PREPROCESSING
from nuwa_model.tokenizers.vqgan.autoencoder import Decoder, Encoder
from nuwa_model.tokenizers.vqgan.local import make_local
from nuwa_model.tokenizers.vqgan.quantize import VectorQuantizer
from nuwa_model.tokenizers.vqgan.shape import published_config
from nuwa_model.tokenizers.vqgan.taming import published_weights, refuse_damage, refuse_misfit

_LARGEST_PIXEL = 2.0  # resizing overshoots [-1, 1] a little

_HANDICAP = "quantize.handicap"


class VQGANOutput(NamedTuple):
    """What a training step needs.

    Args:
        reconstruction: In the range of the pictures; for sketches the logits of each class.
        commitment: What keeps latents near their vectors, not yet weighted.
        codebook: What draws a codebook that takes gradients to its latents.
        tokens: In [0, v).
        latents: What the encoder gave the quantizer, for ``CodebookTrainer.update``.
    """

    reconstruction: Float[Tensor, "b c H W"]
    commitment: Float[Tensor, ""]
    codebook: Float[Tensor, ""]
    tokens: Int[Tensor, "b h w"]
    latents: Float[Tensor, "b e h w"]


class VQGAN(nn.Module):
    """The frame tokenizer and, with one channel a class, the sketch tokenizer.

    A picture is RGB in [-1, 1], or one-hot over ``config.channels`` classes.
    """

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quantize = VectorQuantizer(
            config.codebook_size, config.codebook_dim, is_cosine=config.is_cosine
        )
        self.quant_conv = nn.Conv2d(config.latent_channels, config.codebook_dim, kernel_size=1)
        self.post_quant_conv = nn.Conv2d(config.codebook_dim, config.latent_channels, kernel_size=1)
        if config.is_local:
            make_local(self.encoder, self.decoder)

    def forward(self, images: Float[Tensor, "b c H W"]) -> VQGANOutput:
        """Reconstruct pictures, with gradients straight through the quantizer."""
        latents = self._latents(images)
        quantized = self.quantize(latents)
        reconstruction = self.decoder(self.post_quant_conv(quantized.latents))
        return VQGANOutput(
            reconstruction, quantized.commitment, quantized.codebook, quantized.tokens, latents
        )

    @torch.no_grad()
    def encode(self, images: Float[Tensor, "b c H W"]) -> Int[Tensor, "b h w"]:
        """Tokens of each picture, in [0, v).

        Raises:
            GridError: A side of the pictures is not a multiple of ``config.factor``, or they have
                other channels than ``config.channels``.
            PixelsError: A pixel is no number, or far out of range.
        """
        _refuse_odd_pixels(images)
        # Channels innermost, as convolutions want them: a quarter faster on a CPU, the same tokens.
        images = images.contiguous(memory_format=torch.channels_last)
        return self.quantize.nearest(self._latents(images).float())

    @torch.no_grad()
    def decode(self, tokens: Int[Tensor, "b h w"]) -> Float[Tensor, "b c H W"]:
        """Frames cut off at [-1, 1]; for sketches the logits of each class.

        Raises:
            GridError: A token is not in the codebook.
        """
        if not tokens.is_meta and tokens.numel():
            least, most = (int(number) for number in tokens.aminmax())
            if least < 0 or most >= self.config.codebook_size:
                raise GridError(
                    f"Tokens go from {least} to {most}, but this VQ-GAN has "
                    f"{self.config.codebook_size}: another one made them."
                )
        decoded = self.decoder(self.post_quant_conv(self.quantize.lookup(tokens)))
        return decoded if self.is_for_sketches else decoded.clamp(-1, 1)

    @property
    def is_for_sketches(self) -> bool:
        """Whether channels are classes."""
        return self.config.is_for_sketches

    @property
    def codebook(self) -> Float[Tensor, "v e"]:
        """The vector that each token stands for."""
        return self.quantize.embedding.weight.detach()

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any weight, setting or step of preprocessing."""
        kind = "sketches" if self.is_for_sketches else "frames"
        digest = hashlib.sha256(f"{_config_text(self.config)} {PREPROCESSING[kind]}".encode())
        for name, weight in sorted(self.state_dict().items()):
            digest.update(f"{name} {tuple(weight.shape)}".encode())
            digest.update(weight.detach().float().cpu().contiguous().numpy().data)
        return digest.hexdigest()[:16]

    def save_pretrained(self, path: Path | str) -> None:
        """Write ``config.json`` and ``model.safetensors`` into a folder."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(_config_text(self.config) + "\n")
        weights = {name: weight.contiguous() for name, weight in self.state_dict().items()}
        save_file(weights, folder / "model.safetensors")

    @classmethod
    def from_pretrained(cls, path: Path | str) -> "VQGAN":
        """Read what ``save_pretrained`` wrote, ready for inference on the CPU.

        Raises:
            WeightsError: A file is missing or damaged, or the weights do not fit the config.
        """
        folder = Path(path)
        try:
            fields: dict[str, Any] = json.loads((folder / "config.json").read_text())
            tuples: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()
            }
            model = cls(VQGANConfig(**tuples))
            model.load_state_dict(load_file(folder / "model.safetensors"))
        except (OSError, TypeError, json.JSONDecodeError, SafetensorError, RuntimeError) as error:
            raise WeightsError(
                f"{folder} is not a VQ-GAN that save_pretrained wrote: "
                f"{' '.join(str(error).split())}"
            ) from error
        return model.eval()

    @classmethod
    def from_taming(cls, source: Path | str | Mapping[str, Tensor], config: VQGANConfig) -> "VQGAN":
        """Take over weights of the published family, ready for inference on the CPU.

        Args:
            source: A checkpoint of taming-transformers (``VQModel``) or of its descendants, of
                which nothing is executed; or its state dict.
            config: The shape that the checkpoint's own config tells: ``ch`` is ``width``,
                ``ch_mult`` is ``width_multipliers``, ``z_channels`` is ``latent_channels``,
                ``n_embed`` and ``embed_dim`` are the codebook's.

        Raises:
            WeightsError: The file cannot be read, or holds the weights of another network.
        """
        weights = published_weights(source)
        model = cls(config)
        expected = model.state_dict()
        ours = {_HANDICAP: expected.pop(_HANDICAP)}  # zero for published weights
        refuse_misfit(weights, expected)
        refuse_damage(weights)
        model.load_state_dict({**weights, **ours})
        return model.eval()

    @classmethod
    def from_published(cls, source: Path | str | Mapping[str, Tensor]) -> "VQGAN":
        """``from_taming`` with the config that the weights themselves tell.

        Raises:
            WeightsError: The file cannot be read, or holds the weights of another network.
        """
        weights = published_weights(source)
        return cls.from_taming(weights, published_config(weights))

    def _latents(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b e h w"]:
        channels, height, width = images.shape[1:]
        factor = self.config.factor
        if channels != self.config.channels or height % factor or width % factor:
            raise GridError(
                f"A VQ-GAN of {self.config.channels} channels and compression {factor} was given "
                f"pictures of {channels}×{height}×{width}; their sides must be multiples of "
                f"{factor}."
            )
        return self.quantize.normalized(self.quant_conv(self.encoder(images)))


def _refuse_odd_pixels(images: Float[Tensor, "b c H W"]) -> None:
    """Refuse pictures that would become tokens of nothing."""
    if images.is_meta or not images.numel():  # a shape alone
        return
    largest = float(images.abs().max())
    if not largest <= _LARGEST_PIXEL:  # also where it is no number
        raise PixelsError(
            f"A picture has a value of size {largest:g}; expected numbers in [-1, 1] (of bytes, "
            "pixels_to_images makes them)."
        )


def _config_text(config: VQGANConfig) -> str:
    return json.dumps(config.as_dict(), indent=1, sort_keys=True)
