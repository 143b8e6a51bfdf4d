"""How the slots of a pass attend to the keys that each one sees; the same for all layers."""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

_LEAST_QUERIES = 64
"""From so many heads of slots on a few large sums are faster than a fused kernel for each."""


class Held(Protocol):
    """Keys and values that are kept from pass to pass: a layer's ring, or those of a condition."""

    @property
    def keys(self) -> Float[Tensor, "b p n e"]:
        """The heads of a place side by side."""

    @property
    def values(self) -> Float[Tensor, "b p n e"]:
        """Likewise."""


class Masked(NamedTuple):
    """A fused kernel over all keys.

    Attributes:
        bias: What is added to scores: −∞ where a slot does not see a place.
    """

    bias: Float[Tensor, "... p"]

    def attend(self, query: Float[Tensor, "b n m e"], held: Held) -> Float[Tensor, "b m d"]:
        """Let each slot attend to what it sees; heads end side by side."""
        key, value = held.keys.transpose(1, 2), held.values.transpose(1, 2)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=self.bias)
        return out.transpose(1, 2).flatten(start_dim=2)


class Gathered(NamedTuple):
    """A fused kernel for each group of slots, over copies of its keys and values.

    Attributes:
        places: What each group sees.
        bias: What is added to scores: −∞ where a slot does not see a place of its group's.
    """

    places: Int[Tensor, "g k"]
    bias: Float[Tensor, "bg 1 q k"]

    def attend(self, query: Float[Tensor, "b n m e"], held: Held) -> Float[Tensor, "b m d"]:
        """Let each slot attend to what it sees; heads end side by side."""
        b, n, m, e = query.shape
        query = query.transpose(1, 2).reshape(len(self.bias), -1, n, e).transpose(1, 2)
        key, value = (self._seen(x) for x in (held.keys, held.values))
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=self.bias)
        return out.transpose(1, 2).reshape(b, m, n * e)

    def _seen(self, states: Float[Tensor, "b p n e"]) -> Float[Tensor, "bg n k e"]:
        seen = states.index_select(1, self.places.flatten())
        return seen.view(len(self.bias), -1, *states.shape[2:]).transpose(1, 2)


class Summed(NamedTuple):
    """Products of a slot with its keys, and its values added up where they lie.

    With a dozen keys for each slot, kernels made for matrices take longer to start than to run.

    Attributes:
        keys: Places that each slot sees, those of all samples numbered one after another.
        values: The same for each head, heads of a place numbered one after another.
        bias: What is added to scores: −∞ where a slot does not see a place of its list.
    """

    keys: Int[Tensor, "b m k"]
    values: Int[Tensor, "bmn k"]
    bias: Float[Tensor, "m 1 k"]

    def attend(self, query: Float[Tensor, "b n m e"], held: Held) -> Float[Tensor, "b m d"]:
        """Let each slot attend to what it sees; heads end side by side."""
        b, n, m, e = query.shape
        key = held.keys.flatten(end_dim=1).index_select(0, self.keys.flatten())
        products = key.view(b, m, -1, n, e) * query.transpose(1, 2).unsqueeze(2)
        scores = products.sum(dim=-1, dtype=self.bias.dtype).transpose(2, 3)
        weights = torch.add(self.bias, scores, alpha=e**-0.5).softmax(dim=-1).to(key.dtype)
        out = F.embedding_bag(
            self.values,
            held.values.flatten(end_dim=2),
            per_sample_weights=weights.view_as(self.values),
            mode="sum",
        )
        return out.view(b, m, n * e)


def seen_by(seen: Int[Tensor, "g k"], mask: Bool[Tensor, "m k"], held: Held) -> Gathered | Summed:
    """What the slots of a pass see of what is held, in the way that is faster here.

    Args:
        seen: Places that each slot sees, or one list for all of them.
        mask: True where a slot sees a place of its list.
        held: Keys and values of one layer; those of the others have the same shape.
    """
    batch, size, num_heads, _ = held.keys.shape
    num_slots, device = len(mask), held.keys.device
    has_own_keys = len(seen) == num_slots
    if not has_own_keys or device.type != "cpu" or batch * num_slots * num_heads < _LEAST_QUERIES:
        bias = bias_of(mask.view(len(seen), 1, -1, mask.shape[1]), held.keys.dtype)
        return Gathered(seen, bias.repeat(batch, 1, 1, 1))
    keys = torch.arange(batch)[:, None, None] * size + seen
    values = keys[:, :, None] * num_heads + torch.arange(num_heads)[:, None]
    exact = torch.promote_types(held.keys.dtype, torch.float32)
    return Summed(keys, values.flatten(end_dim=2), bias_of(mask[:, None], exact))


def bias_of(mask: Bool[Tensor, "*cells"], dtype: torch.dtype) -> Float[Tensor, "*cells"]:
    """What attention adds to its scores: made once for all layers."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, float("-inf"))
