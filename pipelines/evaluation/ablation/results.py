"""What an ablation found: numbers with their spread, and what they say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from nuwa_model.tokenizers.vqgan import VQGAN
from pipelines import artifacts
from pipelines.artifacts import Artifact
from pipelines.config import RunConfig
from pipelines.evaluation.ablation.trainings import Training
from pipelines.evaluation.ablation.variants import Variant
from pipelines.evaluation.ablation.yardstick import Measured, Yardstick
from pipelines.progress import Progress

METRICS = ("frechet", "ssim", "psnr", "codes_alive")

PAPER: Sequence[Mapping[str, Any]] = (
    {"model": "VQ-VAE", "picture": "256² → 16²", "ssim": 0.7026, "fid": 13.3},
    {"model": "VQ-GAN", "picture": "256² → 16²", "ssim": 0.7105, "fid": 6.04},
    {"model": "VQ-GAN", "picture": "336² → 21²", "ssim": 0.7213, "fid": 4.79},
    {"model": "VQ-GAN", "picture": "256² → 32²", "ssim": 0.8285, "fid": 2.03},
)
"""NÜWA's Table 4 (Wu et al., ECCV 2022), on ImageNet: the template, measured by other means."""


@dataclass(frozen=True)
class Row:
    """One variant over all seeds.

    Attributes:
        variant: What was trained.
        made: The artifact of each seed.
        measured: The numbers of each seed.
    """

    variant: Variant
    made: Sequence[Artifact]
    measured: Sequence[Measured]

    def values(self, metric: str) -> list[float]:
        """A number for each seed."""
        return [float(getattr(one, metric)) for one in self.measured]

    def mean(self, metric: str) -> float:
        """Over all seeds."""
        return fmean(self.values(metric))

    def deviation(self, metric: str) -> float | None:
        """Standard deviation over seeds (of a sample); one seed has none."""
        values = self.values(metric)
        return stdev(values) if len(values) > 1 else None

    def as_json(self) -> dict[str, Any]:
        """The numbers as JSON values."""
        variant = self.variant
        seeds = [
            {"seed": training.seed, "artifact": made.name}
            | {metric: getattr(one, metric) for metric in METRICS}
            for training, made, one in zip(
                variant.trainings(len(self.made)), self.made, self.measured, strict=True
            )
        ]
        return {
            "name": variant.name,
            "title": variant.title,
            "size": variant.size,
            "factor": variant.vqgan.factor,
            "side": variant.side,
            "num_tokens": variant.num_tokens,
            "codebook_size": variant.vqgan.codebook_size,
            "bits": variant.bits,
            "compression": variant.compression,
            "parameters": self.measured[0].parameters,
            "seeds": seeds,
            "mean": {metric: self.mean(metric) for metric in METRICS},
            "deviation": {metric: self.deviation(metric) for metric in METRICS},
        }


@dataclass(frozen=True)
class Comparison:
    """Two variants by their Fréchet distance from the originals, seed by seed.

    A seed gives both the same first weights and pictures where they are of equal size, so that
    what it does to both alike is no part of the difference.

    Attributes:
        question: What is compared, in a few words.
        first: One of them.
        second: The other.
    """

    question: str
    first: Row
    second: Row

    @property
    def differences(self) -> list[float]:
        """Of the first from the second by seed: below zero if it is nearer the originals."""
        pairs = zip(self.first.values("frechet"), self.second.values("frechet"), strict=True)
        return [one - other for one, other in pairs]

    @property
    def difference(self) -> float:
        """Their mean."""
        return fmean(self.differences)

    @property
    def spread(self) -> float | None:
        """Their standard deviation (of a sample); one seed has none."""
        return stdev(self.differences) if len(self.differences) > 1 else None

    def says(self, metric: str) -> str:
        """The outcome in a sentence.

        Args:
            metric: Full name of the distance.
        """
        one, other = (row.mean("frechet") for row in (self.first, self.second))
        side = "lower" if self.difference < 0 else "higher"
        told = (
            f"{self.question}: the {metric} of {self.first.variant.title} is {one:.3g}, that of "
            f"{self.second.variant.title} {other:.3g}, so it is {side} by "
            f"{abs(self.difference):.3g}"
        )
        if self.spread is None:
            return f"{told}; one seed cannot tell whether that is chance."
        count = len(self.differences)
        agree = sum(one * self.difference > 0 for one in self.differences)
        told = f"{told}, with {agree} of {count} seeds"
        if abs(self.difference) > self.spread:
            return f"{told}, and by more than these spread ({self.spread:.2g})."
        return f"{told}, but these spread by {self.spread:.2g}: undecided."

    def as_json(self, metric: str) -> dict[str, Any]:
        """The outcome as JSON values."""
        return {
            "question": self.question,
            "first": self.first.variant.name,
            "second": self.second.variant.name,
            "differences": self.differences,
            "difference": self.difference,
            "spread": self.spread,
            "says": self.says(metric),
        }


def measure_all(
    config: RunConfig,
    variants: Sequence[Variant],
    trainings: Sequence[Training],
    yardstick: Yardstick,
) -> list[Row]:
    """Measure what came out of every training, and gather it by variant.

    Raises:
        ArtifactError: An artifact is missing or damaged.
    """
    made: dict[str, list[Artifact]] = {variant.name: [] for variant in variants}
    measured: dict[str, list[Measured]] = {variant.name: [] for variant in variants}
    with Progress("measure", len(trainings)) as progress:
        for training in trainings:
            artifact = training.find(config.store)
            model = VQGAN.from_pretrained(artifacts.local_folder(artifact))
            made[training.variant.name].append(artifact)
            measured[training.variant.name].append(
                yardstick.measure(model, shrink=training.variant.shrink)
            )
            progress.advance()
    return [Row(one, made[one.name], measured[one.name]) for one in variants]


def compare(rows: Sequence[Row]) -> tuple[Comparison, Comparison]:
    """The two questions that the variants were made for."""
    vqvae, vqgan, large, half = rows
    return (
        Comparison("Losses", vqgan, vqvae),
        Comparison("Four times the tokens", half, large),
    )
