"""How this process gets its memory from the operating system."""

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # names of ``mallopt`` in glibc's malloc.h
_KEPT_BYTES = 2**31 - 1  # glibc takes no more


def ask_huge_pages() -> None:
    """Let processes that start from here on hold large tensors in huge pages, where Linux has any.

    The kernel clears a page when it is first touched, and what a convolution writes is new memory
    each time: with pages of 2 MiB in place of 4 KiB encoding a batch in bfloat16 takes a quarter
    less time. torch reads the variable when it is imported, so it comes too late for this process.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def keep_freed() -> None:
    """Keep freed memory, 2 GiB a heap of glibc's, for the next tensors of the same sizes.

    A training step on a CPU makes and drops the same few hundred tensors. By default glibc hands
    them back to the kernel, which clears every page of the next step's anew: about an eighth of a
    step's time. Tensors above 32 MiB it always maps apart, unless maps are forbidden: they were
    another twentieth of a step in float32, and a quarter in bfloat16 (``benchmarks/results/``,
    training step). Where there is no glibc nothing happens.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_MMAP_MAX, 0)
            mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
