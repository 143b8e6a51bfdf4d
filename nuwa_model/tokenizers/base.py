"""What the rest of the system asks of a tokenizer of pictures."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from nuwa_model.config import VQGANConfig


@runtime_checkable
class VisualTokenizer(Protocol):
    """Turns pictures into grids of tokens and back.

    A picture is ``(c, H, W)``: RGB in [-1, 1] for frames, a one-hot map of classes for sketches.
    """

    config: VQGANConfig

    @property
    def codebook(self) -> Float[Tensor, "v e"]:
        """The vector that each token stands for."""

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any weight, setting or step of preprocessing."""

    def encode(self, images: Float[Tensor, "b c H W"]) -> Int[Tensor, "b h w"]:
        """Tokens of each picture, in [0, v)."""

    def decode(self, tokens: Int[Tensor, "b h w"]) -> Float[Tensor, "b c H W"]:
        """Pictures in [-1, 1]; for sketches the logits of each class."""
