"""What the transformer is trained on."""

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor


def next_token_loss(
    logits: Float[Tensor, "b s h w v"], target: Int[Tensor, "b s h w"], given_frames: int = 0
) -> Float[Tensor, ""]:
    """Mean cross-entropy, in nats, of each target token given all tokens before it (Eq. 16).

    Tokens of the first ``given_frames`` frames are left out: whoever samples is given them.

    ``logits[:, s, h, w]`` must already be the prediction *for* cell ``(s, h, w)``: the decoder's
    slot grid aligns them, so nothing is shifted here. Computed in float32 whatever the input.
    """
    return F.cross_entropy(
        rearrange(logits[:, given_frames:], "b s h w v -> (b s h w) v").float(),
        rearrange(target[:, given_frames:], "b s h w -> (b s h w)"),
    )
