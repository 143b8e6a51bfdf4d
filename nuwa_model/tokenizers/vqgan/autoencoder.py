"""The convolutions of a VQ-GAN (Esser et al. 2021, https://arxiv.org/abs/2012.09841).

The names of submodules are those of the published checkpoints of that family
(taming-transformers), so that their state dicts fit; that is the only reason for ``nin_shortcut``,
``block_1`` and the like. Attention blocks are placed by the *configured* resolution, whatever the
size of the picture at hand: by the actual size they would vanish at 336 pixels.
"""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from nuwa_model.config import VQGANConfig

MOST_GROUPS = 32
CHANNELS_A_GROUP = 4


class Encoder(nn.Module):
    """Pictures to latents, ``config.factor`` times smaller on each side."""

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        widths = _widths(config)
        self.conv_in = _conv3(config.channels, config.width)
        self.down = nn.ModuleList()
        before = config.width
        for level, width in enumerate(widths):
            has_attention = config.resolution // 2**level in config.attention_resolutions
            is_last = level == len(widths) - 1
            self.down.append(
                _DownLevel(before, width, config.num_res_blocks, has_attention, not is_last)
            )
            before = width
        self.mid = _Middle(before)
        self.norm_out = _norm(before)
        self.conv_out = _conv3(before, config.latent_channels)

    def forward(self, images: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d h w"]:
        """Encode pictures whose sides are multiples of ``config.factor``."""
        x = self.conv_in(images)
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """Latents to pictures, or to the logits of a sketch's classes."""

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        widths = _widths(config)
        self.conv_in = _conv3(config.latent_channels, widths[-1])
        self.mid = _Middle(widths[-1])
        levels = []
        before = widths[-1]
        for level in reversed(range(len(widths))):
            has_attention = config.resolution // 2**level in config.attention_resolutions
            # One block more than the encoder has on the same level, as published.
            levels.append(
                _UpLevel(before, widths[level], config.num_res_blocks + 1, has_attention, level > 0)
            )
            before = widths[level]
        self.up = nn.ModuleList(reversed(levels))  # counted from the finest level, as published
        self.norm_out = _norm(before)
        self.conv_out = _conv3(before, config.channels)

    def forward(self, latents: Float[Tensor, "b d h w"]) -> Float[Tensor, "b c H W"]:
        """Decode latents; the values are not cut off."""
        x = self.mid(self.conv_in(latents))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class _DownLevel(nn.Module):
    def __init__(
        self, before: int, width: int, num_blocks: int, has_attention: bool, halves: bool
    ) -> None:
        super().__init__()
        self.block = _blocks(before, width, num_blocks)
        self.attn = _attentions(width, num_blocks if has_attention else 0)
        if halves:
            self.downsample = Downsample(width)
        self._halves = halves

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        x = _interleave(x, self.block, self.attn)
        return self.downsample(x) if self._halves else x


class _UpLevel(nn.Module):
    def __init__(
        self, before: int, width: int, num_blocks: int, has_attention: bool, doubles: bool
    ) -> None:
        super().__init__()
        self.block = _blocks(before, width, num_blocks)
        self.attn = _attentions(width, num_blocks if has_attention else 0)
        if doubles:
            self.upsample = _Upsample(width)
        self._doubles = doubles

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        x = _interleave(x, self.block, self.attn)
        return self.upsample(x) if self._doubles else x


class _Middle(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block_1 = _ResBlock(width, width)
        self.attn_1 = AttentionBlock(width)
        self.block_2 = _ResBlock(width, width)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return self.block_2(self.attn_1(self.block_1(x)))


class _ResBlock(nn.Module):
    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.norm1 = _norm(before)
        self.conv1 = _conv3(before, width)
        self.norm2 = _norm(width)
        self.conv2 = _conv3(width, width)
        if before != width:
            self.nin_shortcut = nn.Conv2d(before, width, kernel_size=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        y = self.conv1(F.silu(self.norm1(x)))
        y = self.conv2(F.silu(self.norm2(y)))
        return y + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttentionBlock(nn.Module):
    """Every cell attends to every cell, with one head as wide as the features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.q = nn.Conv2d(width, width, kernel_size=1)
        self.k = nn.Conv2d(width, width, kernel_size=1)
        self.v = nn.Conv2d(width, width, kernel_size=1)
        self.proj_out = nn.Conv2d(width, width, kernel_size=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Add to each cell what it attends to."""
        normed = self.norm(x)
        q, k, v = (
            rearrange(project(normed), "b c h w -> b 1 (h w) c")
            for project in (self.q, self.k, self.v)
        )
        attended = F.scaled_dot_product_attention(q, k, v)
        return x + self.proj_out(rearrange(attended, "b 1 (h w) c -> b c h w", h=x.shape[2]))


class Downsample(nn.Module):
    """Halves a picture with a strided convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, kernel_size=3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c i j"]:
        """Each output cell reads a block of 3×3."""
        # The published weights were trained with padding on the right and below only.
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class _Upsample(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _conv3(width, width)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c i j"]:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def _widths(config: VQGANConfig) -> list[int]:
    return [config.width * multiplier for multiplier in config.width_multipliers]


def _blocks(before: int, width: int, num_blocks: int) -> nn.ModuleList:
    return nn.ModuleList(_ResBlock(before if i == 0 else width, width) for i in range(num_blocks))


def _attentions(width: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(AttentionBlock(width) for _ in range(count))


def _interleave(
    x: Float[Tensor, "b c h w"], blocks: nn.ModuleList, attentions: nn.ModuleList
) -> Float[Tensor, "b d h w"]:
    for i, block in enumerate(blocks):
        x = block(x)
        if len(attentions):
            x = attentions[i](x)
    return x


def _norm(width: int) -> nn.GroupNorm:
    # 32 groups, as published. A narrower network gets fewer: groups of one channel would erase
    # the mean of every channel, and with it the color of a plain background.
    groups = next(
        groups
        for groups in (MOST_GROUPS, 16, 8, 4, 2, 1)
        if groups == 1 or (width % groups == 0 and width >= CHANNELS_A_GROUP * groups)
    )
    return nn.GroupNorm(groups, width, eps=1e-6)


def _conv3(before: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(before, width, kernel_size=3, padding=1)
