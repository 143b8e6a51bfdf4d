"""LPIPS from files in the published format, against the formula written down again."""

import pytest
import torch
from torch.nn import functional as F

from nuwa_model.errors import WeightsError
from nuwa_model.tokenizers.vqgan.perceptual import LPIPS
from tests.lpips import LAYERS, published, write_lpips


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_lpips(tmp_path_factory.mktemp("lpips"))


def formula(a, b):
    vgg, lin = published()
    scaled = [
        (x - torch.tensor([-0.030, -0.088, -0.188])[:, None, None])
        / torch.tensor([0.458, 0.448, 0.450])[:, None, None]
        for x in (a, b)
    ]
    total, place, level = 0.0, 0, 0
    for width in LAYERS:
        if width != "M":
            weight, bias = vgg[f"features.{place}.weight"], vgg[f"features.{place}.bias"]
            scaled = [F.conv2d(x, weight, bias, padding=1).relu() for x in scaled]
            place += 2
            continue
        ones = [F.normalize(x, dim=1, eps=1e-10) for x in scaled]
        squares = (ones[0] - ones[1]) ** 2
        total += (squares * lin[f"lin{level}.model.1.weight"]).sum(1).mean()
        scaled = [F.max_pool2d(x, 2) for x in scaled]
        place, level = place + 1, level + 1
    return total


def test_the_distance_is_that_of_the_formula(files):
    a, b = torch.rand(2, 2, 3, 40, 32) * 2 - 1
    assert LPIPS.load(*files)(a, b).item() == pytest.approx(formula(a, b).item(), rel=1e-4)


def test_equal_pictures_are_no_distance_apart_and_the_distance_pulls(files):
    judge = LPIPS.load(*files)
    a = torch.rand(1, 3, 32, 32) * 2 - 1
    assert judge(a, a).item() == 0
    moved = (a + 0.1).requires_grad_()
    judge(moved, a).backward()
    assert moved.grad.abs().sum() > 0
    assert all(p.grad is None for p in judge.parameters())


def test_a_file_of_something_else_is_named(files, tmp_path):
    with pytest.raises(WeightsError, match=r"vgg\.pth should have features\.0\.weight .* none"):
        LPIPS.load(files[1], files[1])
    torch.save({**published()[1], "lin2.model.1.weight": torch.zeros(1, 7, 1, 1)}, tmp_path / "x")
    with pytest.raises(WeightsError, match=r"lin2.* of shape \(1, 256, 1, 1\), but has \(1, 7, "):
        LPIPS.load(files[0], tmp_path / "x")
