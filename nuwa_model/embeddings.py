"""How tokens become vectors and vectors become logits: positions, codebooks, text."""

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from nuwa_model.errors import WeightsError
from nuwa_model.grid import Grid

SIGNATURE = 64
"""Learned numbers a token: enough to tell 12,288 apart, and 0.8 M of the paper's 870 M."""


class PositionTable(nn.Module):
    """Three learned tables, for time, height and width, added up (paper §3.3)."""

    def __init__(self, grid: Grid, dim: int) -> None:
        super().__init__()
        self.s = nn.Parameter(torch.randn(grid.s, dim) * 0.02)
        self.h = nn.Parameter(torch.randn(grid.h, dim) * 0.02)
        self.w = nn.Parameter(torch.randn(grid.w, dim) * 0.02)

    def forward(
        self, grid: Grid, first_frame: Int[Tensor, " b"] | None = None
    ) -> Float[Tensor, "*b s h w d"]:
        """The position of every cell of a grid that is no larger than the table.

        With ``first_frame`` there is one grid for each of a batch, which begins at that frame of
        the table: at least 0, and ``grid.s`` frames before the table's end at most.
        """
        if first_frame is None:
            times = self.s[: grid.s]
        else:
            times = self.s[first_frame[:, None] + torch.arange(grid.s, device=first_frame.device)]
        return times[..., None, None, :] + self.h[: grid.h, None] + self.w[: grid.w]


class CodebookEmbedding(nn.Module):
    """A vector for each token, made by a small network of its codebook vector and a signature.

    A linear map would keep the tokens in as few dimensions as the codebook has, and of vectors in
    few dimensions most lie inside the others' hull, where no product can single them out. The
    learned signature tells apart what lies close together. The codebook is a frozen buffer,
    standardized to zero mean and unit variance, so that its scale does not depend on the tokenizer
    that it comes from.
    """

    codebook: Tensor

    def __init__(self, size: int, codebook_dim: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("codebook", torch.randn(size, codebook_dim))
        self.signature = nn.Parameter(torch.randn(size, SIGNATURE))
        self.lift = nn.Linear(codebook_dim + SIGNATURE, dim)
        self.project = nn.Linear(dim, dim)

    @torch.no_grad()
    def set_codebook(self, vectors: Float[Tensor, "v e"]) -> None:
        """Take the vectors of a trained tokenizer.

        Raises:
            WeightsError: They are not as many or as long as the config says.
        """
        if vectors.shape != self.codebook.shape:
            raise WeightsError(
                f"The tokenizer's codebook is {tuple(vectors.shape)}, the model expects "
                f"{tuple(self.codebook.shape)}: set model.codebook_size and model.codebook_dim."
            )
        vectors = vectors.float()
        self.codebook.copy_((vectors - vectors.mean(0)) / (vectors.std() + 1e-6))

    def table(self) -> Float[Tensor, "v d"]:
        """The vectors of all tokens."""
        both = torch.cat([self.codebook, self.signature], dim=1)
        return self.project(F.gelu(self.lift(both), approximate="tanh"))

    def forward(self, tokens: Int[Tensor, "*cells"]) -> Float[Tensor, "*cells d"]:
        """Embed tokens."""
        return F.embedding(tokens, self.table())


class CodebookHead(nn.Module):
    """Scores every token's embedding against the projected state."""

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.project_out = nn.Linear(dim, dim)
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(
        self, x: Float[Tensor, "b t d"], table: Float[Tensor, "v d"]
    ) -> Float[Tensor, "b t v"]:
        """Logits of the next token; ``table`` is the embedding's."""
        return F.linear(self.project(x), table, self.bias)

    def project(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """What is compared with the vectors of all tokens."""
        return self.project_out(self.norm(x))


class TextEmbedding(nn.Module):
    """A learned vector for each text token, and its place in the text."""

    def __init__(self, vocabulary: int, grid: Grid, dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary, dim)
        nn.init.normal_(self.table.weight, std=0.5)  # a word outweighs its place
        self.position = PositionTable(grid, dim)

    def forward(self, tokens: Int[Tensor, "b s h w"]) -> Float[Tensor, "b t d"]:
        """Embed a text of grid ``(l, 1, 1)``."""
        x = self.table(tokens) + self.position(Grid(*tokens.shape[1:]))
        return rearrange(x, "b s h w d -> b (s h w) d")
