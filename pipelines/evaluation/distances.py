"""How far the cloud of generated frames lies from the cloud of real ones."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from nuwa_model.errors import ConfigError
from nuwa_model.metrics.frechet import frechet_distance
from pipelines.evaluation.features import LEAST_FRAMES, FeatureExtractor, train_extractor
from pipelines.evaluation.material import Material
from pipelines.evaluation.records import LeftOut, Score

TRAINING_CLIPS = 384
"""Clips that the built-in extractor learns from: enough for its few weights."""

_FRAMES_A_CLIP = 4
"""Frames taken of each clip; neighbors look alike and would pass for more data than there is."""


def score_distances(material: Material) -> Iterator[Score | LeftOut]:
    """Fréchet distance of frames for every task, in the features of the built-in extractor.

    Real frames are held-out ones, as many as there are generated ones.
    """
    if not material.tasks:
        return
    try:
        extractor = train_extractor(material.training_clips(TRAINING_CLIPS))
    except ConfigError as error:
        for task in material.tasks:
            yield LeftOut(task, "Fréchet distance", str(error))
        return
    real = _spread([clip.frames for clip in material.real])
    for task in material.tasks:
        generated = _spread([sample.frames for sample in material.of_task(task)])
        yield _distance(task, extractor, real, generated)


def _distance(
    task: str,
    extractor: FeatureExtractor,
    real: UInt8[np.ndarray, "b H W 3"],
    generated: UInt8[np.ndarray, "b H W 3"],
) -> Score | LeftOut:
    count = min(len(real), len(generated))
    metric = f"FID[{extractor.name}]"
    if count < LEAST_FRAMES:
        reason = f"it needs {LEAST_FRAMES} real and generated frames, and there are {count}"
        return LeftOut(task, metric, reason)
    features = extractor(real[:count])
    halves = frechet_distance(features[::2], features[1::2]).item()
    return Score(
        task=task,
        metric=metric,
        value=frechet_distance(features, extractor(generated[:count])).item(),
        num_samples=count,
        extractor=f"{extractor.name} sha256:{extractor.weights_sha256}",
        note=f"of frames; two halves of the real ones are {halves:.3g} apart",
    )


def _spread(clips: list[np.ndarray]) -> UInt8[np.ndarray, "b H W 3"]:
    """A few frames of each clip, evenly spread; round by round, so that a cut keeps all clips."""
    rounds = [
        clip[len(clip) * place // _FRAMES_A_CLIP]
        for place in range(_FRAMES_A_CLIP)
        for clip in clips
        if place < len(clip)
    ]
    return np.stack(rounds) if rounds else np.zeros((0, 1, 1, 3), np.uint8)
