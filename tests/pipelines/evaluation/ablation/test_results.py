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


def test_the_spread_of_a_difference_is_that_of_both_rows():
    comparison = Comparison("Losses", row(VQGAN, 1.0, 7.0), row(VQVAE, 20.0, 28.0))
    # Deviations of two values are their distance over √2: 3√2 and 4√2.
    assert comparison.difference == -20
    assert comparison.spread == pytest.approx(5 * 2**0.5)


def test_a_difference_beyond_the_spread_is_decided_and_one_within_is_not():
    far = Comparison("Losses", row(VQGAN, 1.0, 1.1), row(VQVAE, 2.0, 2.1))
    assert "of VQ-GAN is 1.05, that of VQ-VAE 2.05, so it is lower by 1, more than" in far.says("D")
    near = Comparison("Losses", row(VQGAN, 1.0, 3.0), row(VQVAE, 1.5, 2.0))
    assert "higher by 0.25, within the spread over 2 seeds (1.5): undecided." in near.says("D")


def test_one_seed_has_no_spread_and_decides_nothing():
    alone = Comparison("Losses", row(VQGAN, 1.0), row(VQVAE, 9.0))
    assert alone.spread is None
    assert row(VQGAN, 1.0).deviation("frechet") is None
    assert "one seed cannot tell whether that is chance" in alone.says("D")
