import pytest
import torch

from nuwa_model.tokenizers.vqgan.local import PositionNorm


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_position_is_normalized_over_its_channels_alone(memory_format):
    torch.manual_seed(0)
    norm = PositionNorm(6)
    norm.weight.data.normal_()
    norm.bias.data.normal_()
    x = (3 + 2 * torch.randn(2, 6, 3, 5)).contiguous(memory_format=memory_format)
    mean, variance = x.mean(dim=1, keepdim=True), x.var(dim=1, keepdim=True, unbiased=False)
    scale, shift = norm.weight[:, None, None], norm.bias[:, None, None]
    expected = (x - mean) / torch.sqrt(variance + norm.eps) * scale + shift
    torch.testing.assert_close(norm(x), expected)
    low = norm.to(torch.bfloat16)(x.to(torch.bfloat16))
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), expected, rtol=0.03, atol=0.03)
