"""3D nearby attention: one definition, fast backends tested against it, one entrance."""

from nuwa_model.attention.dispatch import BACKENDS, AttentionBackend, nearby_attention
from nuwa_model.attention.window import nearby_mask

__all__ = ["BACKENDS", "AttentionBackend", "nearby_attention", "nearby_mask"]
