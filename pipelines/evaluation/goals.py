"""What a run on plain moving shapes promises, and whether it holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.evaluation.making import CODES_ALIVE
from pipelines.evaluation.material import Material
from pipelines.evaluation.records import Score

GOALS: Mapping[tuple[str, str], float] = {
    ("T2V", "color"): 0.95,
    ("T2V", "shape"): 0.85,
    ("T2V", "direction"): 0.90,
    ("T2V", "all"): 0.75,
    ("TI2I", "given tokens kept"): 1.0,
    ("TI2I", "given pixels kept"): 1.0,
    ("TV2V", "direction"): 0.80,
    ("judge", "all"): 0.98,
    ("vqgan", "PSNR"): 25.0,
    ("vqgan", CODES_ALIVE): 0.9,
    ("vqgan_seg", "PA"): 0.99,
    ("vqgan_seg", "FWIoU"): 0.98,
    ("vqgan_seg", CODES_ALIVE): 0.9,
}
"""Least values at presets ``demo`` and ``demo_full``; others show how far they are from them."""

_HEADLINES = (
    *GOALS,
    ("T2I", "all"),
    ("V2V", "color continuity"),
    ("V2V", "shape continuity"),
    ("S2I", "shape continuity"),
    ("S2V", "shape continuity"),
    ("S2V", "direction continuity"),
    ("I2I", "shape continuity"),
    ("TI2I", "all"),
    ("TV2V", "all"),
    ("vqgan", "SSIM"),
)
_NAMES = {"judge": "judge, real clips", "vqgan": "VQ-GAN", "vqgan_seg": "VQ-GAN-Seg"}
_COUNTED = {"judge": "clips", "vqgan": "pictures", "vqgan_seg": "label maps"}
_FALLBACK = 6


@dataclass(frozen=True)
class Tile:
    """A key number.

    Attributes:
        score: The number.
        goal: What it should at least be; ``None`` where nothing is promised.
    """

    score: Score
    goal: float | None = None

    @property
    def name(self) -> str:
        """What a reader calls it."""
        return f"{_NAMES.get(self.score.task, self.score.task)} · {self.score.metric}"

    @property
    def counted(self) -> str:
        """What ``num_samples`` counts."""
        return _COUNTED.get(self.score.task, "samples")

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is reached; ``None`` without one."""
        return None if self.goal is None else self.score.value >= self.goal


def key_numbers(material: Material, scores: Sequence[Score]) -> list[Tile]:
    """The numbers a reader looks for first, those with a goal before the others."""
    shapes = material.config.dataset.shapes
    is_plain = not (shapes.second_object or shapes.textured_background)
    goals = GOALS if material.datasets == ("moving_shapes",) and is_plain else {}
    known = {(score.task, score.metric): score for score in scores}
    tiles = [Tile(known[key], goals.get(key)) for key in _HEADLINES if key in known]
    return tiles or [Tile(score) for score in scores[:_FALLBACK]]
