"""Other people's packages, for comparison only: they never enter the project's own environment.

make peers
"""

import sys
import warnings
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

PLACE = Path(__file__).parent / ".peers"
HINT = "not there: run `make peers`"


def nuwa_pytorch():
    """Module ``nuwa_pytorch``, or None if ``make peers`` never ran.

    It imports torchvision for pictures, which has no build for this torch: empty modules stand in
    for it.
    """
    if not (PLACE / "nuwa_pytorch").is_dir():
        return None
    sys.path.append(str(PLACE))
    for name in ("", ".models", ".transforms", ".datasets", ".utils"):
        sys.modules.setdefault(f"torchvision{name}", _Empty(f"torchvision{name}"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of what it imports, on torch's old names
        import nuwa_pytorch

    return nuwa_pytorch


def nuwa_of(config, vae, **more):
    """nuwa-pytorch's model with the width, heads, depths and texts of one of ours.

    Raises:
        FileNotFoundError: ``make peers`` never ran.
    """
    nuwa = nuwa_pytorch()
    if nuwa is None:
        raise FileNotFoundError(HINT)
    return nuwa.NUWA(
        dim=config.dim,
        vae=vae,
        max_video_frames=config.target_grid.s,
        text_num_tokens=config.text_vocabulary,
        text_max_seq_len=config.text_length,
        text_enc_depth=config.encoder_depth,
        text_enc_heads=config.num_heads,
        text_enc_dim_head=config.head_dim,
        enc_reversible=True,  # its other encoder takes no positions, and fails
        dec_depth=config.decoder_depth,
        dec_heads=config.num_heads,
        dec_dim_head=config.head_dim,
        sparse_3dna_kernel_size=tuple(config.extent),
        **more,
    )


class _Empty(ModuleType):
    """A module of which every name can be imported."""

    __path__ = ()

    def __init__(self, name):
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})
