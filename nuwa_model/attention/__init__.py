"""3D nearby attention: one definition, fast backends tested against it, one entrance.

Full and axial attention stand beside it for the ablations, with the same signature.
"""

from nuwa_model.attention.dispatch import BACKENDS, AttentionBackend, nearby_attention
from nuwa_model.attention.kinds import ATTENTIONS, Attention
from nuwa_model.attention.window import axial_mask, nearby_mask

__all__ = [
    "ATTENTIONS",
    "BACKENDS",
    "Attention",
    "AttentionBackend",
    "axial_mask",
    "nearby_attention",
    "nearby_mask",
]
