"""Compiles the kernels of nearby attention for a GPU, on a machine that has none.

Prints each kernel with the bytes of shared memory that it takes; a GPU has at least 99 KiB.
"""

import sys

import torch

from nuwa_model.attention import kernel
from nuwa_model.grid import Extent, Grid

VIDEO = Grid(10, 21, 22)


class Driver:
    """What Triton asks of a GPU in order to compile for it."""

    def get_current_target(self):
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", 89, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, _device):
        return 0


class Compiled:
    """A kernel that is compiled where it would be started."""

    def __init__(self, jitted):
        self.jitted = jitted

    def __getitem__(self, grid):
        def compile_for(*args, **kwargs):
            binary = self.jitted.run(*args, grid=grid, warmup=True, **kwargs)
            print(self.jitted.__name__, binary.metadata.shared)

        return compile_for


def main():
    import triton

    triton.runtime.driver.set_active(Driver())
    kernels = kernel._kernels()
    for name in ("attend_boxes", "query_gradients", "key_value_gradients"):
        setattr(kernels, name, Compiled(getattr(kernels, name)))
    dtype = getattr(torch, sys.argv[1])
    q, k, v = (torch.zeros(1, 2, VIDEO.num_cells, 64, dtype=dtype) for _ in range(3))
    window = (VIDEO, VIDEO, Extent(3, 3, 3).radius(VIDEO), Grid(0, 0, 1))
    out, numbers = kernel._empty_like(q), (kernel._numbers(q), kernel._numbers(q))
    kernel._launch("attend_boxes", (q, k, v, out), numbers[:1], window, causal=True)
    kernel._launch("query_gradients", (q, k, v, out, out, q), numbers, window, causal=True)
    kernel._launch("key_value_gradients", (q, k, v, out, k, v), numbers, window, causal=True)
