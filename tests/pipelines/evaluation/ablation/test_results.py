"""What an ablation's numbers say, in closed form."""

import numpy as np
import pytest

from pipelines.evaluation.ablation.results import Comparison, Row
from pipelines.evaluation.ablation.variants import make_variants
from pipelines.evaluation.ablation.yardstick import Measured
from pipelines.presets import RUN_PRESETS

VQVAE, VQGAN, *_ = make_variants(RUN_PRESETS["base"])


def row(variant, *distances):
    nothing = np.zeros((0, 1, 1, 3), np.uint8)
    measured = [
        Measured(frechet=d, ssim=0.5, psnr=20.0, codes_alive=9, parameters=1, decoded=nothing)
        for d in distances
    ]
    return Row(variant, [], measured)


def test_what_a_seed_does_to_both_alike_is_no_spread_of_their_difference():
    comparison = Comparison("Losses", row(VQGAN, 1.0, 101.0), row(VQVAE, 20.0, 128.0))
    assert comparison.difference == -23
    # Of two values the deviation is their distance over √2.
    assert comparison.spread == pytest.approx(8 / 2**0.5)


def test_a_difference_beyond_the_spread_is_decided_and_one_within_is_not():
    far = Comparison("Losses", row(VQGAN, 1.0, 1.1), row(VQVAE, 2.0, 2.2))
    assert far.says("D").endswith(
        "of VQ-GAN is 1.05, that of VQ-VAE 2.1, so it is lower by 1.05, with 2 of 2 seeds, and by "
        "more than these spread (0.071)."
    )
    near = Comparison("Losses", row(VQGAN, 1.0, 3.0), row(VQVAE, 1.5, 2.0))
    assert near.says("D").endswith(
        "higher by 0.25, with 1 of 2 seeds, but these spread by 1.1: undecided."
    )


def test_one_seed_has_no_spread_and_decides_nothing():
    alone = Comparison("Losses", row(VQGAN, 1.0), row(VQVAE, 9.0))
    assert alone.spread is None
    assert row(VQGAN, 1.0).deviation("frechet") is None
    assert "one seed cannot tell whether that is chance" in alone.says("D")
