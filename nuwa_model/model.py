"""NÜWA: an encoder of texts and sketches, a decoder of images and videos."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from nuwa_model.batch import Batch
from nuwa_model.config import NuwaConfig
from nuwa_model.decoder import Decoder
from nuwa_model.encoder import Context, Encoder
from nuwa_model.errors import WeightsError
from nuwa_model.grid import Extent, Grid

_DETAIL_LENGTH = 300
"""Characters of what torch says."""
_OF_EXPORTS = {"fingerprints"}
"""What ``export.Export`` adds to a model's ``config.json``."""


class Nuwa(nn.Module):
    """The whole transformer (spec §3).

    Args:
        config: Its shape.
    """

    def __init__(self, config: NuwaConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.apply(_initialize)
        _scale_outputs(self, config)

    def forward(self, batch: Batch) -> Float[Tensor, "b s h w v"]:
        """Logits of every target cell given the cells before it and the condition."""
        return self.decoder(batch.target, self.encode(batch), batch.first_frame)

    def encode(self, batch: Batch) -> Context:
        """Read the condition."""
        return self.encoder(
            batch.condition,
            batch.condition_mask,
            is_sketch=batch.task.condition == "sketch",
            first_frame=batch.first_frame,
        )

    def set_codebooks(
        self, frames: Float[Tensor, "v e"], sketches: Float[Tensor, "u f"] | None = None
    ) -> None:
        """Take the codebooks of the trained tokenizers; they stay frozen."""
        self.decoder.embedding.set_codebook(frames)
        if sketches is not None:
            self.encoder.sketch.set_codebook(sketches)

    def checkpoint_activations(self, is_on: bool = True) -> None:
        """Keep nothing of a layer for the backward pass but what it reads (``layers.Stack``)."""
        self.encoder.layers.is_checkpointed = is_on
        self.decoder.layers.is_checkpointed = is_on

    def num_parameters(self) -> int:
        """Parameters by the paper's convention: codebook counted, text table not (spec §3)."""
        learned = sum(p.numel() for p in self.parameters())
        text = self.encoder.text.table.weight.numel()
        return learned - text + self.decoder.embedding.codebook.numel()

    def save_pretrained(self, path: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` into a folder."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: x.contiguous() for name, x in self.state_dict().items()},
            folder / "model.safetensors",
        )
        (folder / "config.json").write_text(json.dumps(_config_to_json(self.config), indent=1))

    @classmethod
    def from_pretrained(cls, path: str | Path) -> "Nuwa":
        """Load what ``save_pretrained`` wrote.

        Raises:
            WeightsError: The folder is not one, or its weights are not its config's.
        """
        folder = Path(path)
        try:
            config = _config_from_json(json.loads((folder / "config.json").read_text()))
            state = load_file(folder / "model.safetensors")
        except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
            raise WeightsError(f"{folder} holds no NÜWA model: {error}") from error
        model = cls(config)
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            detail = " ".join(str(error).split())[:_DETAIL_LENGTH]  # it names every weight
            raise WeightsError(f"{folder}: weights and config differ. {detail}") from error
        return model


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features**-0.5)
        nn.init.zeros_(module.bias)


@torch.no_grad()
def _scale_outputs(model: Nuwa, config: NuwaConfig) -> None:
    """Start every branch small, so that a deep stack begins near the identity, and the head near
    zero, so that an untrained model pays the logarithm of the vocabulary.
    """
    scale = 1 / math.sqrt(2 * max(1, config.decoder_depth))
    for name, parameter in model.named_parameters():
        if name.endswith(("to_out.weight", "down.weight")):
            parameter.mul_(scale)
    model.decoder.head.project_out.weight.mul_(0.1 / math.sqrt(config.dim))


def _config_to_json(config: NuwaConfig) -> dict[str, Any]:
    tree = dataclasses.asdict(config)
    tree["extent"] = [None if math.isinf(x) else x for x in config.extent]
    return tree


def _config_from_json(tree: dict[str, Any]) -> NuwaConfig:
    extent = Extent(*(math.inf if x is None else x for x in tree["extent"]))
    settings = {name: value for name, value in tree.items() if name not in _OF_EXPORTS}
    unknown = settings.keys() - {field.name for field in dataclasses.fields(NuwaConfig)}
    if unknown:
        raise ValueError(
            f"its config.json sets {', '.join(sorted(unknown))}, which this version does not know: "
            "mend a misspelled name, or load it with the version that wrote it."
        )
    return NuwaConfig(**{**settings, "extent": extent, "target_grid": Grid(*tree["target_grid"])})
