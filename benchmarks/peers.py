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
