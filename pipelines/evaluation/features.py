"""Networks that turn frames into features, for distances between clouds of them (D9).

An extractor says what it is called and which weights it has, and the report says both: a distance
in the features of a small network of our own is never called FID alone. Networks that others
trained (Inception, I3D) are the user's files and would be further extractors.
"""

import hashlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from einops.layers.torch import Reduce
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from nuwa_model.errors import ConfigError
from pipelines.evaluation.material import Clip, told

NUM_FEATURES = 32

LEAST_FRAMES = 2 * NUM_FEATURES
"""Frames below which neither a network is trained nor a covariance of its features estimated."""

PIXELS = 32
"""Height and width at which the built-in networks see a frame."""

_STEPS, _BATCH, _LEARNING_RATE = 150, 64, 3e-3


@runtime_checkable
class FeatureExtractor(Protocol):
    """Frames in, features out.

    Attributes:
        name: Stands in brackets behind the metric, as in ``FID[shapes-net]``.
        weights_sha256: Of the weights' bytes, 64 hex digits.
    """

    name: str
    weights_sha256: str

    def __call__(self, frames: UInt8[np.ndarray, "b H W 3"]) -> Float[Tensor, "b features"]:
        """Features of RGB frames, 0 to 255."""


class SmallNet:
    """A small convolutional network, trained here on the run's own clips.

    Args:
        name: What it was trained to tell apart.
        net: The network up to its features.
    """

    def __init__(self, name: str, net: nn.Module) -> None:
        self.name = name
        self._net = net.eval()
        digest = hashlib.sha256()
        for tensor in net.state_dict().values():
            digest.update(tensor.numpy().tobytes())
        self.weights_sha256 = digest.hexdigest()

    @torch.no_grad()
    def __call__(self, frames: UInt8[np.ndarray, "b H W 3"]) -> Float[Tensor, "b features"]:
        """Features of RGB frames, 0 to 255, of any size; the network sees 32 × 32 pixels."""
        return torch.cat([self._net(part) for part in _prepare(frames).split(256)])


def train_extractor(clips: Sequence[Clip], *, seed: int = 0) -> FeatureExtractor:
    """Train the built-in extractor, some seconds of one process; equal clips give equal weights.

    Where captions tell color and shape, it learns to name both: ``shapes-net``. Elsewhere it
    learns which way up a frame is (Gidaris et al. 2018), which needs no captions:
    ``rotation-net``.

    Args:
        clips: Training clips; the first and the last frame of each are used.
        seed: Of initialization and order.

    Raises:
        ConfigError: There are too few frames to learn from.
    """
    frames = np.concatenate(
        [clip.frames[:: max(1, len(clip.frames) - 1)] for clip in clips] or [_NONE]
    )
    if len(frames) < LEAST_FRAMES:
        raise ConfigError(
            f"{len(frames)} training frames are too few for a feature extractor, which needs "
            f"{LEAST_FRAMES}: prepare more clips."
        )
    pictures = _prepare(frames)
    labels = _caption_labels(clips)
    name = "shapes-net"
    if labels is None:
        name = "rotation-net"
        labels = repeat(torch.arange(4), "turns -> (turns b)", b=len(pictures))
        pictures = torch.cat([torch.rot90(pictures, turns, (2, 3)) for turns in range(4)])
    return SmallNet(name, _fit(pictures, labels, seed))


_NONE = np.zeros((0, 1, 1, 3), np.uint8)


def _prepare(frames: UInt8[np.ndarray, "b H W 3"]) -> Float[Tensor, "b 3 h w"]:
    pictures = rearrange(torch.from_numpy(frames.copy()), "b h w c -> b c h w").float() / 127.5 - 1
    return F.interpolate(
        pictures, (PIXELS, PIXELS), mode="bilinear", antialias=True, align_corners=False
    )


def _caption_labels(clips: Sequence[Clip]) -> Int[Tensor, "b"] | None:
    """A number for each pair of color and shape, for each frame used; none if a caption is not."""
    captions = [told(clip.text) for clip in clips]
    pairs = [(one.color, one.shape) for one in captions if one is not None]
    if len(pairs) < len(clips):
        return None
    numbers = {pair: number for number, pair in enumerate(sorted(set(pairs)))}
    counts = [min(2, len(clip.frames)) for clip in clips]
    return torch.tensor(
        [numbers[pair] for pair, n in zip(pairs, counts, strict=True) for _ in range(n)]
    )


def _fit(pictures: Float[Tensor, "b 3 h w"], labels: Int[Tensor, " b"], seed: int) -> nn.Module:
    """Train a classifier and return it up to its features."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # steps this small lose more to other threads than they gain
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            features = _features()
            head = nn.Linear(NUM_FEATURES, int(labels.max()) + 1)
            _take_steps(nn.Sequential(features, nn.ReLU(), head), pictures, labels)
    finally:
        torch.set_num_threads(threads)
    return features


def _features() -> nn.Module:
    return nn.Sequential(
        *_halve(3, 16),
        *_halve(16, 32),
        *_halve(32, 64),
        Reduce("b c h w -> b c", "mean"),
        nn.Linear(64, NUM_FEATURES),
        # keeps distances of one size however sure the network grows
        nn.LayerNorm(NUM_FEATURES, elementwise_affine=False),
    )


def _take_steps(net: nn.Module, pictures: Tensor, labels: Tensor) -> None:
    optimizer = torch.optim.Adam(net.parameters(), lr=_LEARNING_RATE)
    for _ in range(_STEPS):
        chosen = torch.randint(len(pictures), (_BATCH,))
        loss = F.cross_entropy(net(pictures[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def _halve(channels: int, wider: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(channels, wider, 3, stride=2, padding=1), nn.ReLU()
