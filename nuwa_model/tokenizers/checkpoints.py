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
_ZIP = b"PK\x03\x04"
_SCRIPT = "constants.pkl"  # in a zip file, the mark of a TorchScript program


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU: of its ``state_dict``, if it has one.

    Args:
        path: A file of ``torch.save``, of any age, or a ``.safetensors`` file.

    Raises:
        WeightsError: The file is missing or damaged, or holds no tensors by name.
    """
    try:
        _refuse_odd_file(Path(path))
        found = torch.load(path, map_location="cpu", pickle_module=_INERT, weights_only=False)
    except WeightsError:
        raise
    except Exception as error:  # a pickle that was changed can raise anything
        raise WeightsError(
            f"{path} cannot be read as a checkpoint ({_first_sentence(error)}); expected a file of "
            "torch.save or safetensors, and all of it: fetch it again."
        ) from error
    tree = found.get("state_dict", found) if isinstance(found, Mapping) else {}
    named = tree if isinstance(tree, Mapping) else {}
    tensors = {str(name): value for name, value in named.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path} holds no tensors by name; expected a model's state_dict.")
    return tensors


def _refuse_odd_file(path: Path) -> None:
    """Refuse what torch would read without a word, or refuse in many."""
    with path.open("rb") as file:
        start = file.read(len(_ZIP))
    if not start:
        raise WeightsError(f"{path} is empty; expected a checkpoint: fetch it again.")
    if start != _ZIP:
        return
    if not zipfile.is_zipfile(path):  # the list of what is in it stands at its end
        raise WeightsError(f"{path} is cut off; expected all of a checkpoint: fetch it again.")
    with zipfile.ZipFile(path) as archive:
        if any(name.split("/")[-1] == _SCRIPT for name in archive.namelist()):
            raise WeightsError(f"{path} is a TorchScript program; expected weights alone.")
        damaged = archive.testzip()
    if damaged is not None:
        raise WeightsError(
            f"{path} is damaged, {damaged} in it has another checksum than it says; expected the "
            "file as it was published: fetch it again."
        )


def _first_sentence(error: Exception) -> str:
    return " ".join(str(error).split()).partition(". ")[0][:200] or type(error).__name__


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
