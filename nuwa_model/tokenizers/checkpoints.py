"""Checkpoints that somebody published: pickles read for their tensors, and never executed.

A pickle is a program that may call anything it can import. Here it can import what tensors are
made of; every other name stands for something that does nothing, so that what PyTorch Lightning
keeps beside the weights (callbacks, loops, configurations) is read over.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch._utils import _rebuild_parameter, _rebuild_tensor, _rebuild_tensor_v2

from nuwa_model.errors import WeightsError

_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor_v2,
}
_SCRIPT = "constants.pkl"  # in a zip file, the mark of a TorchScript program


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU: of its ``state_dict``, if it has one.

    Args:
        path: A file of ``torch.save``, of any age, or a ``.safetensors`` file.

    Raises:
        WeightsError: The file is missing or damaged, or holds no tensors by name.
    """
    try:
        if _is_program(path):
            raise WeightsError(f"{path} is a TorchScript program; expected weights alone.")
        found = torch.load(path, map_location="cpu", pickle_module=_INERT, weights_only=False)
    except WeightsError:
        raise
    except Exception as error:  # a pickle that was changed can raise anything
        raise WeightsError(
            f"{path} cannot be read as a checkpoint: {' '.join(str(error).split())[:200]}; "
            "expected a file of torch.save or safetensors."
        ) from error
    tree = found.get("state_dict", found) if isinstance(found, Mapping) else {}
    named = tree if isinstance(tree, Mapping) else {}
    tensors = {str(name): value for name, value in named.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path} holds no tensors by name; expected a model's state_dict.")
    return tensors


def _is_program(path: Path | str) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.split("/")[-1] == _SCRIPT for name in archive.namelist())


class _Nothing:
    """Stands for any other class or function: may be called, filled and set, and does nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __new__(cls, *_: object, **__: object) -> "_Nothing":
        return super().__new__(cls)

    def __call__(self, *_: object, **__: object) -> "_Nothing":
        return self

    def __setstate__(self, _: object) -> None:
        pass

    def __setitem__(self, _: object, __: object) -> None:
        pass

    append = extend = add = update = __call__


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """What a pickle gets when it asks for a name."""
        if module == "torch" and name.endswith("Storage"):
            return getattr(torch, name, _Nothing)
        return _ALLOWED.get((module, name), _Nothing)


def _load(file: Any, **arguments: Any) -> Any:
    return _Unpickler(file, **arguments).load()


# What torch.load wants of a module like ``pickle``.
_INERT = SimpleNamespace(
    __name__="inert", Unpickler=_Unpickler, load=_load, UnpicklingError=pickle.UnpicklingError
)
