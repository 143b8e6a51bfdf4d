"""Parts that encoder and decoder share."""

from jaxtyping import Float
from torch import Tensor, nn


class FeedForward(nn.Module):
    """Two linear maps around a GELU."""

    def __init__(self, dim: int, multiplier: int) -> None:
        super().__init__()
        self.up = nn.Linear(dim, multiplier * dim)
        self.activation = nn.GELU(approximate="tanh")
        self.down = nn.Linear(multiplier * dim, dim)

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """Transform every cell by itself."""
        return self.down(self.activation(self.up(x)))
