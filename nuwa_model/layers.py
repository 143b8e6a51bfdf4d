"""Parts that encoder and decoder share."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Stack(nn.ModuleList):
    """Layers of one kind, each after the other.

    Attributes:
        is_checkpointed: Keep nothing of a layer but what it reads, and compute the rest again in
            the backward pass (Chen et al. 2016, https://arxiv.org/abs/1604.06174): one more
            forward pass for a fraction of the memory, and the same gradients.
    """

    is_checkpointed = False

    def forward(self, x: Float[Tensor, "b t d"], *given: Any) -> Float[Tensor, "b t d"]:
        """Run all layers over ``x``; each is also given the rest."""
        for layer in self:
            x = self._checkpoint(layer, x, *given) if self.is_checkpointed else layer(x, *given)
        return x

    def _checkpoint(self, layer: nn.Module, *given: Any) -> Float[Tensor, "b t d"]:
        # No layer draws random numbers, so there is no state of them to restore.
        return checkpoint(layer, *given, use_reentrant=False, preserve_rng_state=False)


class FeedForward(nn.Module):
    """Two linear maps around a GELU."""

    def __init__(self, dim: int, multiplier: int) -> None:
        super().__init__()
        self.up = nn.Linear(dim, multiplier * dim)
        self.activation: nn.Module = nn.GELU(approximate="tanh")
        self.down = nn.Linear(multiplier * dim, dim)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """Transform every cell by itself."""
        return self.down(self.activation(self.up(x)))
