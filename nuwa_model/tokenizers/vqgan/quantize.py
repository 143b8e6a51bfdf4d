"""Latents to the nearest codebook vector, and how the codebook learns.

The codebook follows the running mean of the latents it stands for (van den Oord et al. 2017,
appendix A.1, https://arxiv.org/abs/1711.00937), or a gradient, as in their Eq. 3.
``VectorQuantizer`` is what an artifact holds; ``CodebookTrainer`` is the state that only training
needs.
"""

from typing import Any, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, distributed, nn
from torch.nn import functional as F

MOST_DISTANCES = 2**25
"""Distances held in memory at once: 128 MiB in float32."""
_ERROR_DECAY = 0.95
"""The mean error is followed faster than the codebook: it falls quickly at first."""


class Quantized(NamedTuple):
    """What a quantizer makes of latents.

    Args:
        latents: The nearest codebook vectors; their gradient goes straight through.
        tokens: Rows of the codebook, in [0, v).
        commitment: Mean squared distance of the latents from their vectors, which moves the
            encoder only.
        codebook: The same distance, which moves the vectors only, if they take gradients.
    """

    latents: Float[Tensor, "b e h w"]
    tokens: Int[Tensor, "b h w"]
    commitment: Float[Tensor, ""]
    codebook: Float[Tensor, ""]


class VectorQuantizer(nn.Module):
    """A codebook. Its vectors take no gradient unless asked to: ``CodebookTrainer`` moves them.

    Args:
        codebook_size: Number of vectors.
        codebook_dim: Their length.
        is_cosine: Whether latents and vectors have length one, so that the nearest vector is the
            one of the most similar direction.

    Attributes:
        handicap: A squared distance that each vector has to make up for. Zero, as in published
            checkpoints, unless a ``CodebookTrainer`` with a rate weight has set it.
    """

    handicap: Tensor

    def __init__(self, codebook_size: int, codebook_dim: int, *, is_cosine: bool = False) -> None:
        super().__init__()
        self._is_cosine = is_cosine
        self.register_buffer("handicap", torch.zeros(codebook_size))
        self.embedding = nn.Embedding(codebook_size, codebook_dim)
        self.embedding.weight.requires_grad_(False)
        nn.init.uniform_(self.embedding.weight, -1 / codebook_size, 1 / codebook_size)
        self.embedding.weight.copy_(self.normalized(self.embedding.weight))

    def normalized(self, vectors: Float[Tensor, "n e *hw"]) -> Float[Tensor, "n e *hw"]:
        """Latents or codebook vectors as they are compared: as they come, or of length one."""
        return F.normalize(vectors.float(), dim=1) if self._is_cosine else vectors

    def forward(self, latents: Float[Tensor, "b e h w"]) -> Quantized:
        """Quantize in float32, whatever the precision around it."""
        with torch.autocast(latents.device.type, enabled=False):
            latents = latents.float()
            tokens = self.nearest(latents)
            vectors = self.lookup(tokens)
            return Quantized(
                latents + (vectors - latents).detach(),
                tokens,
                commitment=F.mse_loss(latents, vectors.detach()),
                codebook=F.mse_loss(vectors, latents.detach()),
            )

    @torch.no_grad()
    def nearest(self, latents: Float[Tensor, "b e h w"]) -> Int[Tensor, "b h w"]:
        """Tokens of the vectors nearest after their handicap; the lower of two equally near."""
        flat = rearrange(latents, "b e h w -> (b h w) e")
        codebook = self.embedding.weight
        norms = codebook.square().sum(dim=1) + self.handicap  # (v)
        # The latent's own norm is the same for all vectors and changes no minimum.
        parts = [
            (norms - 2 * part @ codebook.T).argmin(dim=1)
            for part in flat.split(max(1, MOST_DISTANCES // len(codebook)))
        ]
        b, _, h, w = latents.shape
        return rearrange(torch.cat(parts), "(b h w) -> b h w", b=b, h=h, w=w)

    def lookup(self, tokens: Int[Tensor, "b h w"]) -> Float[Tensor, "b e h w"]:
        """The codebook vectors of tokens."""
        return rearrange(self.embedding(tokens), "b h w e -> b e h w")


class CodebookUse(NamedTuple):
    """How much of a codebook is used.

    Args:
        alive: Vectors used at least once.
        perplexity: ``exp`` of the entropy of their use: v when all are used alike.
    """

    alive: int
    perplexity: float


def codebook_use(counts: Float[Tensor, " v"] | Int[Tensor, " v"]) -> CodebookUse:
    """Summarize how often each vector was used."""
    shares = counts.double() / counts.sum().clamp(min=1e-12)
    entropy = -torch.special.xlogy(shares, shares).sum()
    return CodebookUse(int((counts > 0).sum()), float(entropy.exp()))


class CodebookTrainer:
    """Moves a codebook after each training step, the same way on every rank.

    Every rank must call ``update`` with equally many latents. A codebook that takes gradients is
    moved by its optimizer instead; here it is placed, its dead vectors start again, and vectors
    that must have length one get it back.

    Each vector becomes the ratio of two running sums, of its latents and of their number. Both
    start at zero, so the ratio is an unbiased weighted mean from the first step on. A vector that
    no latent chose for ``patience`` updates is dead and starts again at a latent of the current
    batch, drawn with probability proportional to its squared distance from the codebook, so that
    new vectors appear where the old ones fit worst. The first update places all vectors so.

    With a ``rate_weight`` the quantization is entropy-constrained (Chou, Lookabaugh and Gray 1989):
    a vector is handicapped by the length of its code, −log of its share, in units of the mean
    squared error. Latents that differ little then share one frequent token, which costs few
    decibels and spares the transformer tokens that nobody could predict.

    Args:
        quantizer: Whose codebook to move.
        seed: Of the draws; equal on all ranks.
        rate_weight: Mean squared errors that one nat is worth; 0 takes the nearest vector.
        decay: Of the running sums, once there were enough updates for it.
        patience: Updates after which an unused vector is dead.
    """

    def __init__(
        self,
        quantizer: VectorQuantizer,
        *,
        seed: int,
        rate_weight: float = 0.0,
        decay: float = 0.99,
        patience: int = 20,
    ) -> None:
        self._quantizer, self._rate_weight = quantizer, rate_weight
        self._codebook = quantizer.embedding.weight
        self._decay, self._patience = decay, patience
        size, dim = self._codebook.shape
        device = self._codebook.device
        self.counts = torch.zeros(size, device=device)
        self.sums = torch.zeros(size, dim, device=device)
        self.idle = torch.zeros(size, dtype=torch.int64, device=device)
        self.error = torch.zeros((), device=device)
        self.num_updates = 0
        self._generator = torch.Generator().manual_seed(seed)

    @property
    def use(self) -> CodebookUse:
        """Use of the codebook over the last updates; a vector counts as alive until it is dead."""
        use = codebook_use(self.counts)
        return use._replace(alive=int((self.idle < self._patience).sum()))

    @property
    def _takes_gradients(self) -> bool:
        return self._codebook.requires_grad

    @torch.no_grad()
    def update(self, latents: Float[Tensor, "b e h w"], tokens: Int[Tensor, "b h w"]) -> None:
        """Move the codebook towards the latents that chose it.

        Args:
            latents: The encoder's output for this rank's pictures.
            tokens: What the quantizer made of them.
        """
        flat = rearrange(latents.detach().float(), "b e h w -> (b h w) e")
        if self.num_updates == 0:
            self._place_all(flat)
        else:
            self._follow(flat, rearrange(tokens, "b h w -> (b h w)"))
            self._revive(flat)
        self._codebook.copy_(self._quantizer.normalized(self._codebook))
        self.num_updates += 1
        self._set_handicap()

    def _set_handicap(self) -> None:
        if self._rate_weight == 0 or self.num_updates == 1:
            return
        shares = (self.counts + 1e-3) / (self.counts + 1e-3).sum()
        self._quantizer.handicap.copy_(-self._rate_weight * self.error * shares.log())

    def _place_all(self, flat: Float[Tensor, "t e"]) -> None:
        flat = _of_all_ranks(flat)
        everyone = torch.arange(len(self._codebook))
        draws = torch.randint(len(flat), (len(everyone),), generator=self._generator)
        self._start_again(everyone, flat[draws])

    def _follow(self, flat: Float[Tensor, "t e"], tokens: Int[Tensor, " t"]) -> None:
        # Sums, counts and squared errors of each vector's latents: one message to the other ranks.
        errors = (flat - self._codebook[tokens]).square().sum(dim=1, keepdim=True)
        latents = torch.cat([flat, torch.ones_like(errors), errors], dim=1)  # (t, e + 2)
        totals = latents.new_zeros(len(self.counts), latents.shape[1])
        totals.index_add_(0, tokens, latents)
        if distributed.is_initialized():
            distributed.all_reduce(totals)
        sums, counts, error = totals[:, :-2], totals[:, -2], totals[:, -1].sum()
        # A long memory would hold on to latents of the untrained encoder.
        decay = min(self._decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.counts.mul_(decay).add_(counts, alpha=1 - decay)
        self.sums.mul_(decay).add_(sums, alpha=1 - decay)
        self.error.lerp_(error / counts.sum(), 1 - min(decay, _ERROR_DECAY))
        self.idle = torch.where(counts > 0, 0, self.idle + 1)
        if self._takes_gradients:
            return
        used = self.counts > 0
        self._codebook[used] = self.sums[used] / self.counts[used, None]

    def _revive(self, flat: Float[Tensor, "t e"]) -> None:
        dead = (self.idle >= self._patience).nonzero()[:, 0]
        if not len(dead):
            return
        flat = _of_all_ranks(flat)
        near = torch.cdist(flat, self._codebook).min(dim=1).values.square().cpu()  # (t)
        draws = torch.multinomial(
            near + 1e-12, len(dead), replacement=len(dead) > len(near), generator=self._generator
        )
        self._start_again(dead, flat[draws])

    def _start_again(self, rows: Int[Tensor, " n"], vectors: Float[Tensor, "n e"]) -> None:
        # Without new sums the next update would pull the vector back to where it died.
        self.counts[rows] = 1.0
        self.sums[rows] = vectors
        self.idle[rows] = 0
        self._codebook[rows] = vectors

    def state_dict(self) -> dict[str, Any]:
        """Everything that going on needs, except the codebook itself."""
        return {
            "counts": self.counts,
            "sums": self.sums,
            "idle": self.idle,
            "error": self.error,
            "num_updates": self.num_updates,
            "generator": self._generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        device = self._codebook.device
        self.counts, self.sums, self.idle, self.error = (
            state[name].to(device) for name in ("counts", "sums", "idle", "error")
        )
        self.num_updates = state["num_updates"]
        self._generator.set_state(state["generator"].cpu())


def _of_all_ranks(flat: Float[Tensor, "t e"]) -> Float[Tensor, "n e"]:
    """Latents of the whole batch, so that all ranks draw the same ones."""
    if not distributed.is_initialized():
        return flat
    parts = [torch.empty_like(flat) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, flat.contiguous())
    return torch.cat(parts)
