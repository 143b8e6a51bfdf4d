"""All numbers of a report."""

from collections.abc import Callable, Iterator, Mapping

from pipelines.evaluation.attributes import score_judge, score_samples
from pipelines.evaluation.distances import score_distances
from pipelines.evaluation.kept import score_kept
from pipelines.evaluation.making import (
    score_generation,
    score_training,
    score_vqgan,
    score_vqgan_seg,
)
from pipelines.evaluation.material import Material
from pipelines.evaluation.reconstructions import score_reconstructions
from pipelines.evaluation.records import LeftOut, Score
from pipelines.progress import Progress

METRICS: Mapping[str, Callable[[Material], Iterator[Score | LeftOut]]] = {
    "samples": score_samples,
    "kept": score_kept,
    "judge": score_judge,
    "reconstructions": score_reconstructions,
    "distances": score_distances,
    "vqgan": score_vqgan,
    "vqgan_seg": score_vqgan_seg,
    "training": score_training,
    "generation": score_generation,
}
"""Families of numbers; each is measured on its own, or says why it cannot be."""


def score_all(material: Material) -> tuple[list[Score], list[LeftOut]]:
    """Measure everything that the material allows, and say what it does not; task by task."""
    scores: list[Score] = []
    left_out: list[LeftOut] = []
    with Progress("score", len(METRICS)) as progress:
        for name, measure in METRICS.items():
            for entry in measure(material):
                if isinstance(entry, Score):
                    scores.append(entry)
                else:
                    left_out.append(entry)
            progress.advance(note=name)
    tasks = list(dict.fromkeys(score.task for score in scores))
    return sorted(scores, key=lambda score: tasks.index(score.task)), left_out
