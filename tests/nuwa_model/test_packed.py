import pytest
import torch
from torch import nn

from nuwa_model.generation.packed import PackedLinear, linear_map, packed
from nuwa_model.grid import Extent, Grid
from nuwa_model.layers import FeedForward
from tests.nuwa_model.tiny_model import make_model


@pytest.mark.parametrize("rows", [1, 7, 75])
@pytest.mark.parametrize(("inputs", "outputs"), [(96, 40), (512, 1024)])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 2e-2), (torch.float64, 0)]
)
def test_a_packed_map_gives_what_the_map_gives(inputs, outputs, rows, dtype, tolerance):
    torch.manual_seed(0)
    plain = nn.Linear(inputs, outputs).to(dtype)
    x = torch.randn(2, rows, inputs, dtype=dtype)
    with torch.inference_mode():
        for made in (packed(plain), linear_map(plain.weight, plain.bias)):
            torch.testing.assert_close(made(x), plain(x), rtol=tolerance, atol=tolerance)


def test_a_map_without_a_bias_stays_without():
    x = torch.randn(3, 1024)
    plain = nn.Linear(1024, 1024, bias=False)
    with torch.inference_mode():
        assert isinstance(packed(plain), PackedLinear)
        torch.testing.assert_close(packed(plain)(x), plain(x))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 3e-2)])
def test_a_packed_feed_forward_gives_what_it_gives(dtype, tolerance):
    torch.manual_seed(0)
    plain = FeedForward(512, 4).to(dtype)
    x = torch.randn(1, 30, 512, dtype=dtype)
    with torch.inference_mode():
        torch.testing.assert_close(packed(plain)(x), plain(x), rtol=tolerance, atol=tolerance)
    assert isinstance(plain.activation, nn.GELU)


def test_only_large_maps_are_packed_in_float32():
    small, large = nn.Linear(256, 256), nn.Linear(1024, 1024)
    assert packed(small) is small
    assert isinstance(packed(large), PackedLinear)


def test_the_module_itself_is_not_changed():
    module = nn.Sequential(nn.LayerNorm(1024), nn.Sequential(nn.Linear(1024, 1024)))
    twin = packed(module)
    assert isinstance(twin[1][0], PackedLinear)
    assert twin[0].weight is module[0].weight
    assert isinstance(module[1][0], nn.Linear)


def test_float64_is_left_as_it_is():
    model = make_model(Grid(1, 2, 2), Extent(3, 3, 3))
    assert isinstance(packed(model.decoder.layers[0]).feed_forward.up, nn.Linear)
