"""Pictures that are ready when the device is."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

Batch = TypeVar("Batch")


def on_device(
    batches: Sequence[Batch],
    decode: Callable[[Batch], UInt8[np.ndarray, "b H W *c"]],
    device: torch.device,
) -> Iterator[UInt8[Tensor, "b H W *c"]]:
    """Decoded batches in order; each is decoded and copied while the one before is computed with.

    No more than one waits, so memory stays bounded. Bytes travel, a quarter of what their floats
    would; to a GPU from pinned memory on a stream of their own, beside the computation.

    Args:
        batches: What ``decode`` understands.
        decode: Called in a thread of its own; what it raises is raised here.
        device: Where they are wanted.
    """
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def make(batch: Batch) -> Tensor:
        pixels = torch.as_tensor(decode(batch))
        if stream is None:
            return pixels.to(device)
        with torch.cuda.stream(stream):
            copied = pixels.pin_memory().to(device, non_blocking=True)
        stream.synchronize()  # this thread waits, and the pinned memory may go
        return copied

    with ThreadPoolExecutor(1, thread_name_prefix="pictures") as thread:
        waiting = [thread.submit(make, batch) for batch in batches[:1]]
        for place in range(len(batches)):
            pixels = waiting.pop().result()
            waiting += [thread.submit(make, batch) for batch in batches[place + 1 : place + 2]]
            if stream is not None:  # its memory is not to be reused before it has been read
                pixels.record_stream(torch.cuda.current_stream(device))
            yield pixels
