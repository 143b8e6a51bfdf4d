"""Weights laid out for a CPU's matrix units, for as long as a batch is decoded.

A pass multiplies a few dozen rows with every weight of the model. As they lie in a checkpoint,
weights are brought into the order that the units read anew in each product; oneDNN can keep them
in it. ``torch.compile`` does the same with the weights of a frozen model, by these operators.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from nuwa_model.layers import FeedForward

Module = TypeVar("Module", bound=nn.Module)

_ROWS = 64
"""Rows of a product that the order is chosen for."""

_LEAST_IN_FLOAT32 = 1 << 19
"""Weights of a map that is worth it. Each call of oneDNN takes 30 µs, which a plain product in
float32 does without and one in bfloat16 does not."""


class PackedLinear(nn.Module):
    """What a linear map does, for inference.

    Args:
        weight: Of the map.
        bias: Of the map.

    Attributes:
        has_gelu: Apply the feed-forward's GELU to each number before it is stored.
    """

    has_gelu = False

    def __init__(self, weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), _ROWS)
        self._bias = None if bias is None else bias.detach()

    def forward(self, x: Float[Tensor, "*rows i"]) -> Float[Tensor, "*rows o"]:
        """Apply it."""
        name, algorithm = ("gelu", "tanh") if self.has_gelu else ("none", "")
        multiply = torch.ops.mkldnn._linear_pointwise
        return cast(Tensor, multiply(x, self._weight, self._bias, name, [], algorithm))


def linear_map(
    weight: Float[Tensor, "o i"], bias: Float[Tensor, " o"] | None
) -> Callable[[Float[Tensor, "*rows i"]], Float[Tensor, "*rows o"]]:
    """A linear map, packed where this machine is faster for it."""
    if _can_pack(weight):
        return PackedLinear(weight, bias)
    return partial(F.linear, weight=weight, bias=bias)


def packed(module: Module) -> Module:
    """The same module with its linear maps packed; all else is shared with the original."""
    if isinstance(module, nn.Linear):
        is_better = _can_pack(module.weight)
        return cast(Module, PackedLinear(module.weight, module.bias)) if is_better else module
    twin = copy.copy(module)
    children = module._modules.items()
    twin._modules = {name: None if child is None else packed(child) for name, child in children}
    if isinstance(twin, FeedForward) and isinstance(twin.up, PackedLinear):
        twin.up.has_gelu, twin.activation = True, nn.Identity()
    return twin


def _can_pack(weight: Tensor) -> bool:
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32 and weight.numel() >= _LEAST_IN_FLOAT32
