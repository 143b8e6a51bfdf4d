"""The losses at points where their value is known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nuwa_model.tokenizers.labels import UNKNOWN_LABEL
from nuwa_model.tokenizers.pixels import labels_to_one_hot
from nuwa_model.tokenizers.vqgan.discriminator import Discriminator
from nuwa_model.tokenizers.vqgan.losses import (
    adaptive_weight,
    discriminator_loss,
    feature_loss,
    frame_loss,
    generator_loss,
    sketch_loss,
)


def scores(value):
    return torch.full((2, 1, 3, 3), float(value))


def test_the_discriminator_has_nothing_to_learn_beyond_the_margin():
    assert discriminator_loss(scores(1), scores(-1)) == 0
    assert discriminator_loss(scores(0), scores(0)) == 1
    assert discriminator_loss(scores(-1), scores(1)) == 2


def test_the_decoder_wants_high_scores():
    assert generator_loss(scores(3)) < generator_loss(scores(-3))


def test_a_sketch_without_opinion_costs_the_log_of_its_classes():
    one_hot = torch.nn.functional.one_hot(torch.zeros(1, 4, 4).long(), 7).movedim(-1, 1).float()
    assert sketch_loss(torch.zeros(1, 7, 4, 4), one_hot).item() == pytest.approx(math.log(7))


def sketch(*rows):
    return labels_to_one_hot(torch.tensor([rows], dtype=torch.uint8), num_classes=3)


def test_unknown_pixels_pull_at_nothing():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    sketch_loss(logits, sketch([0, UNKNOWN_LABEL], [2, 1])).backward()
    pulls = logits.grad.abs().sum(dim=1)[0]
    assert pulls[0, 1] == 0
    assert (pulls > 0).sum() == 3


def test_a_sketch_of_which_nothing_is_known_costs_nothing():
    logits = torch.randn(1, 3, 1, 2, requires_grad=True)
    loss = sketch_loss(logits, sketch([UNKNOWN_LABEL, UNKNOWN_LABEL]))
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@settings(deadline=None)
@given(st.lists(st.sampled_from([0, 1, 2, UNKNOWN_LABEL]), min_size=1, max_size=30))
def test_unknown_pixels_cost_what_pixels_that_are_not_there_do(labels):
    logits = torch.randn(1, 3, 1, len(labels), generator=torch.Generator().manual_seed(0))
    places = [place for place, label in enumerate(labels) if label != UNKNOWN_LABEL]
    loss = sketch_loss(logits, sketch(labels)).item()
    if places:
        known = sketch([labels[place] for place in places])
        assert loss == pytest.approx(sketch_loss(logits[..., places], known).item(), rel=1e-5)
    else:
        assert loss == 0


def test_frames_are_compared_by_absolute_difference():
    assert frame_loss(torch.full((1, 3, 2, 2), 0.5), torch.zeros(1, 3, 2, 2)) == 0.5


def test_equal_features_cost_nothing_and_originals_take_no_gradient():
    real = [torch.ones(1, 4, 2, 2, requires_grad=True)]
    fake = [torch.ones(1, 4, 2, 2, requires_grad=True)]
    loss = feature_loss(fake, real)
    assert loss == 0
    loss.backward()
    assert real[0].grad is None


def test_the_adaptive_weight_makes_both_pulls_equally_strong():
    weight = torch.nn.Parameter(torch.tensor([2.0, 0.0]))
    strong, weak = (weight * torch.tensor([3.0, 4.0])).sum(), weight.sum() / 2**0.5
    assert adaptive_weight(strong, weak, weight).item() == pytest.approx(5.0, rel=1e-3)
    assert adaptive_weight(weak, strong, weight).item() == pytest.approx(0.2, rel=1e-3)


def test_the_discriminator_scores_patches_and_shows_its_features():
    found, features = Discriminator(3, width=8)(torch.randn(2, 3, 32, 32))
    assert found.shape == (2, 1, 2, 2)
    assert [f.shape[1] for f in features] == [8, 16, 32, 64]
