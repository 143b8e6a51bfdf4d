"""Bytes to a tokenizer's input and back."""

import pytest
import torch

from nuwa_model.errors import ConfigError
from nuwa_model.tokenizers.pixels import (
    images_to_pixels,
    labels_to_one_hot,
    logits_to_labels,
    pixels_to_images,
)


def test_every_shade_survives_the_way_there_and_back():
    shades = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).repeat(1, 1, 1, 3)
    images = pixels_to_images(shades)
    assert images.min() == -1
    assert images.max() == 1
    assert torch.equal(images_to_pixels(images), shades)


def test_values_out_of_range_are_cut_off_and_never_wrap_around():
    assert images_to_pixels(torch.tensor([[[[-1.5, 1.5]]]])).flatten().tolist() == [0, 255]


def test_labels_survive_the_way_there_and_back():
    labels = torch.randint(4, (2, 5, 5), dtype=torch.uint8)
    one_hot = labels_to_one_hot(labels, num_classes=4)
    assert torch.equal(one_hot.sum(dim=1), torch.ones(2, 5, 5))
    assert torch.equal(logits_to_labels(one_hot), labels)


def test_unknown_pixels_are_of_no_class_and_decoding_never_gives_one():
    labels = torch.tensor([[[0, 255], [2, 255]]], dtype=torch.uint8)
    one_hot = labels_to_one_hot(labels, num_classes=3)
    assert one_hot.sum(dim=1).tolist() == [[[1, 0], [1, 0]]]
    assert logits_to_labels(one_hot).tolist() == [[[0, 0], [2, 0]]]


def test_with_256_classes_the_last_one_is_a_class_like_any_other():
    labels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    assert torch.equal(logits_to_labels(labels_to_one_hot(labels, num_classes=256)), labels)


def test_a_label_beside_unknown_ones_is_refused_by_its_own_number():
    labels = torch.tensor([[[255, 9]]], dtype=torch.uint8)
    with pytest.raises(ConfigError, match=r"label 9.*set vqgan_seg\.channels=10"):
        labels_to_one_hot(labels, num_classes=4)


def test_a_label_beyond_the_classes_is_refused_with_the_setting_that_helps():
    labels = torch.tensor([[[0, 9]]], dtype=torch.uint8)
    with pytest.raises(ConfigError, match=r"label 9.*set vqgan_seg\.channels=10"):
        labels_to_one_hot(labels, num_classes=4)
