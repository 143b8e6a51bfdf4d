"""Randomness that depends on the seed, the sample and the cell, and on nothing else.

Whatever order the cells are sampled in, and whatever else is in the batch, a cell draws the same
number: that is what makes every schedule draw the same tokens.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

_MASK_32 = 0xFFFFFFFF


def uniform(
    seed: int, samples: Int[Tensor, " b"], cells: Int[Tensor, " m"]
) -> Float[Tensor, "b m"]:
    """Numbers in (0, 1), one for each sample and cell, in float64.

    A counter-based generator: the three numbers are mixed by rounds of a 32-bit multiply-xorshift
    hash (the finalizer of MurmurHash3), kept inside int64 so that no product overflows.
    """
    state = torch.full((), seed & _MASK_32, dtype=torch.int64, device=cells.device)
    state = _mix(state) ^ (seed >> 32 & _MASK_32)
    state = _mix(_mix(state) ^ (samples.long()[:, None] & _MASK_32))
    state = state ^ (cells.long()[None, :] & _MASK_32)
    high = _mix(state)
    low = _mix(high ^ 0x9E3779B9)
    return ((high >> 6).double() * 2**26 + (low >> 6).double() + 0.5) / 2**52


def _mix(x: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    x = (x ^ (x >> 16)) & _MASK_32
    x = _multiply(x, 0x85EBCA6B)
    x = x ^ (x >> 13)
    x = _multiply(x, 0xC2B2AE35)
    return x ^ (x >> 16)


def _multiply(x: Int[Tensor, "..."], factor: int) -> Int[Tensor, "..."]:
    """Product modulo 2³² in two halves, because int64 would overflow."""
    low = x * (factor & 0xFFFF)
    high = (x * (factor >> 16) & 0xFFFF) << 16
    return (low + high) & _MASK_32
