"""The metrics against their closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nuwa_model.errors import ConfigError
from nuwa_model.metrics.fidelity import psnr, ssim
from nuwa_model.metrics.frechet import frechet_distance
from nuwa_model.metrics.segmentation import frequency_weighted_iou, pixel_accuracy
from nuwa_model.tokenizers.labels import UNKNOWN_LABEL


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_cloud_is_at_no_distance_from_itself():
    cloud = normal(500, 16)
    assert frechet_distance(cloud, cloud).item() == pytest.approx(0, abs=1e-9)


def test_the_distance_is_the_same_both_ways():
    a, b = normal(300, 8), 2 * normal(400, 8, seed=1) + 1
    assert frechet_distance(a, b).item() == pytest.approx(frechet_distance(b, a).item())


def test_a_shift_costs_its_squared_length():
    cloud = normal(300, 4)
    shift = torch.tensor([3.0, 0.0, -4.0, 0.0])
    assert frechet_distance(cloud, cloud + shift).item() == pytest.approx(25, rel=1e-5)


def test_gaussians_of_known_spread_give_the_closed_form_answer():
    narrow, wide = normal(200_000, 1), 3 * normal(200_000, 1, seed=1)
    assert frechet_distance(narrow, wide).item() == pytest.approx((3 - 1) ** 2, rel=0.02)


def test_fewer_samples_than_features_still_give_a_finite_distance():
    distance = frechet_distance(normal(10, 64), normal(12, 64, seed=1))
    assert math.isfinite(distance)
    assert distance > 0


def test_more_noise_is_further_away():
    cloud = normal(400, 8)
    distances = [
        frechet_distance(cloud, cloud + level * normal(400, 8, seed=1)).item()
        for level in (0.1, 0.5, 1.0, 2.0)
    ]
    assert distances == sorted(distances)


def test_one_sample_has_no_covariance_and_says_so():
    with pytest.raises(ConfigError, match="at least 2 real"):
        frechet_distance(normal(1, 4), normal(9, 4))


def test_an_error_of_a_tenth_everywhere_is_twenty_decibels():
    picture = torch.full((2, 3, 16, 16), 0.5)
    assert psnr(picture + 0.1, picture).item() == pytest.approx(20, abs=1e-3)


def test_equal_pictures_are_fully_similar_and_noise_makes_them_less_so():
    picture = normal(2, 3, 32, 32).sigmoid()
    noisy = (picture + 0.2 * normal(2, 3, 32, 32, seed=1)).clamp(0, 1)
    assert ssim(picture, picture).item() == pytest.approx(1)
    assert ssim(noisy, picture) < 0.95


def test_label_maps_that_differ_in_one_pixel_of_four():
    target = torch.tensor([[[0, 0], [1, 1]]])
    predicted = torch.tensor([[[0, 1], [1, 1]]])
    assert pixel_accuracy(predicted, target, num_classes=2).item() == pytest.approx(3 / 4)
    by_hand = 0.5 * (1 / 2) + 0.5 * (2 / 3)
    assert frequency_weighted_iou(predicted, target, num_classes=2).item() == pytest.approx(by_hand)


def test_unknown_pixels_count_neither_as_right_nor_as_wrong():
    target = torch.tensor([[[0, 0, UNKNOWN_LABEL], [1, 1, UNKNOWN_LABEL]]])
    predicted = torch.tensor([[[0, 1, 0], [1, 1, 1]]])
    assert pixel_accuracy(predicted, target, num_classes=2).item() == pytest.approx(3 / 4)
    by_hand = 0.5 * (1 / 2) + 0.5 * (2 / 3)
    assert frequency_weighted_iou(predicted, target, num_classes=2).item() == pytest.approx(by_hand)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 2, 3, UNKNOWN_LABEL])),
        min_size=1,
        max_size=40,
    )
)
def test_unknown_pixels_measure_as_pixels_that_are_not_there_do(pairs):
    known = [pair for pair in pairs if pair[1] != UNKNOWN_LABEL]
    for measure in (pixel_accuracy, frequency_weighted_iou):
        found, left = (
            measure(*torch.tensor(some).reshape(-1, 2).T[:, None, None], num_classes=4).item()
            if some
            else 0.0
            for some in (pairs, known)
        )
        assert found == pytest.approx(left, abs=1e-6)


def test_with_256_classes_the_last_one_is_measured():
    target, wrong = torch.full((1, 1, 2), 255), torch.zeros(1, 1, 2).long()
    for measure in (pixel_accuracy, frequency_weighted_iou):
        assert measure(target, target, num_classes=256) == 1
        assert measure(wrong, target, num_classes=256) == 0
