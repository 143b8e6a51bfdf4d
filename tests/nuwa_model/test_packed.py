import pytest
import torch
from torch import nn

from nuwa_model.generation.packed import PackedLinear, linear_map, packed
from nuwa_model.grid import Extent, Grid
from tests.nuwa_model.tiny_model import make_model


@pytest.mark.parametrize("rows", [1, 7, 75])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float64, 0)]
)
def test_a_packed_map_gives_what_the_map_gives(rows, dtype, tolerance):
    torch.manual_seed(0)
    plain = nn.Linear(96, 40).to(dtype)
    x = torch.randn(2, rows, 96, dtype=dtype)
    with torch.inference_mode():
        for made in (packed(plain), linear_map(plain.weight, plain.bias)):
            torch.testing.assert_close(made(x), plain(x), rtol=tolerance, atol=tolerance)


def test_a_map_without_a_bias_stays_without():
    x = torch.randn(3, 8)
    plain = nn.Linear(8, 4, bias=False)
    with torch.inference_mode():
        torch.testing.assert_close(packed(plain)(x), plain(x))


def test_the_model_itself_is_not_changed():
    model = make_model(Grid(1, 2, 2), Extent(3, 3, 3)).float()
    before = {name: type(module) for name, module in model.named_modules()}
    layer = packed(model.decoder.layers[0])
    assert isinstance(layer.feed_forward.up, PackedLinear)
    assert layer.self_norm.weight is model.decoder.layers[0].self_norm.weight
    assert {name: type(module) for name, module in model.named_modules()} == before


def test_float64_is_left_as_it_is():
    model = make_model(Grid(1, 2, 2), Extent(3, 3, 3))
    assert isinstance(packed(model.decoder.layers[0]).feed_forward.up, nn.Linear)
