"""What data sheets say of GPUs."""

from collections.abc import Mapping
from typing import NamedTuple


class Gpu(NamedTuple):
    """Of one kind: bytes, and dense bfloat16 operations a second."""

    memory: int
    flops: float


GPUS: Mapping[str, Gpu] = {
    "a100-40": Gpu(40 * 10**9, 312e12),
    "a100-80": Gpu(80 * 10**9, 312e12),
    "h100": Gpu(80 * 10**9, 989e12),
    "h200": Gpu(141 * 10**9, 989e12),
}


def flops_of(device: str) -> float | None:
    """Operations a second of a GPU by the name that CUDA gives it, if it is known."""
    words = device.lower().replace("-", " ").split()
    for name, gpu in GPUS.items():
        if name.partition("-")[0] in words:
            return gpu.flops
    return None
