"""Whether what samples were given is in them as it was."""

from collections.abc import Iterator

import numpy as np
from einops import repeat

from pipelines.evaluation.material import Clip, Material, Sample
from pipelines.evaluation.records import LeftOut, Score, share


def score_kept(material: Material) -> Iterator[Score | LeftOut]:
    """Share of samples with every given token, and every pixel over one, as it was given."""
    for task in material.tasks:
        given = [sample for sample in material.of_task(task) if sample.known]
        if not given:
            continue
        tokens = np.mean([_keeps_tokens(sample) for sample in given])
        yield share(task, "given tokens kept", float(tokens), len(given))
        there = [sample for sample in given if sample.clip_id in material.clips]
        if not there:
            yield LeftOut(task, "given pixels kept", "their clips are not in the store any more")
            continue
        pixels = np.mean([_keeps_pixels(one, material.clips[one.clip_id]) for one in there])
        yield share(task, "given pixels kept", float(pixels), len(there))


def _keeps_tokens(sample: Sample) -> bool:
    known, tokens = np.load(sample.known), np.load(sample.tokens)
    return bool((tokens == known)[known >= 0].all())


def _keeps_pixels(sample: Sample, clip: Clip) -> bool:
    known = np.load(sample.known)
    factor = sample.frames.shape[1] // known.shape[1]
    is_given = repeat(known >= 0, "s h w -> s (h i) (w j)", i=factor, j=factor)
    original = clip.frames[: len(known)]
    return bool((sample.frames == original)[is_given].all())
