"""An export made of a checkpoint: the model with the tokenizers it was trained with."""

import tempfile
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from nuwa_model.export import Export
from nuwa_model.model import Nuwa
from nuwa_model.tokenizers.vqgan import VQGAN
from pipelines import artifacts, storage
from pipelines.artifacts import Artifact
from pipelines.config import RunConfig
from pipelines.errors import ArtifactError
from pipelines.run_tokenizers import find_tokenizer
from pipelines.settings import load_config
from pipelines.training import checkpoint
from pipelines.training.curve import decimate
from pipelines.training.ema import load_weights
from pipelines.training.plan import TrainingPlan, load_text, load_tokenizers
from pipelines.training.resharding import whole_weights
from pipelines.training.saved import read_state

EXPORT = "export"

Weights = Literal["ema", "last"]


def build_export(plan: TrainingPlan, source: Artifact, weights: Weights = "ema") -> Export:
    """The model of a checkpoint, ready to be saved.

    Args:
        plan: Names the tokenizers.
        source: The checkpoint.
        weights: The exponential moving average, or those of the last step.

    Raises:
        ArtifactError: A tokenizer is another than the one of the training.
    """
    frames, sketches = load_tokenizers(plan)
    _refuse_other(frames, plan.frames, source.metadata["fingerprint"])
    _refuse_other(sketches, plan.sketches, source.metadata["sketch_fingerprint"])
    with torch.random.fork_rng():
        model = Nuwa(plan.config.model)
    model.set_codebooks(frames.codebook, None if sketches is None else sketches.codebook)
    folder = artifacts.local_folder(source)
    if weights == "ema":
        load_weights(model, folder / checkpoint.EMA_FILE)
    else:
        model.load_state_dict(whole_weights(folder / checkpoint.SHARDS))
    return Export(model=model, text=load_text(plan), frames=frames, sketches=sketches)


def export_checkpoint(uri: str, folder: Path, weights: Weights = "ema") -> Artifact:
    """Make a new folder an export of any checkpoint of a transformer.

    Its store must still have the tokenizers.

    Returns:
        The export, an artifact that lies in no store.

    Raises:
        ArtifactError: The folder is not empty, or the checkpoint or a tokenizer is missing,
            damaged, or another than the one of the training.
    """
    source, folder = artifacts.load(storage.absolute(uri)), folder.resolve()
    if source.kind != checkpoint.KIND or "fingerprint" not in source.metadata:
        raise ArtifactError(
            f"{uri} is no checkpoint of a transformer: `nuwa checkpoint ls STORE` lists those."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArtifactError(f"{folder} is not an empty folder: give another.")
    artifacts.sound_folder(source)
    export = build_export(plan_of(source), source, weights)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".export-") as scratch:
        whole = Path(scratch) / "whole"
        export.save(whole)
        about = {
            "kind": EXPORT,
            "name": source.name.replace("/", "-"),
            "config": source.config,
            "metadata": export_metadata(source, weights),
        }
        artifacts.stamp(whole, about)
        folder.mkdir(exist_ok=True)
        parts = sorted(whole.iterdir(), key=lambda path: path.name == artifacts.MANIFEST)
        for part in parts:  # the manifest last
            part.replace(folder / part.name)
    return artifacts.load(str(folder))


def export_metadata(source: Artifact, weights: Weights = "ema") -> dict[str, Any]:
    """What an export says of the checkpoint it was made of."""
    curve = read_state(source)["curve"]["records"]
    return {**source.metadata, "weights": weights, "curve": decimate(curve)}


def plan_of(source: Artifact) -> TrainingPlan:
    """The plan of the training that wrote a checkpoint, as far as an export needs it.

    Raises:
        ArtifactError: A tokenizer is missing.
        ConfigError: This version does not know a setting.
    """
    told = source.metadata
    config = _config_of(source)
    text, has_sketches = told["text_tokenizer"], told["sketch_fingerprint"]
    return TrainingPlan(
        config=config,
        training=config.training,
        name=told["run"],
        store_version=told["store_version"],
        text=find_tokenizer(config, "text_tokenizer", text).uri if text else "",
        frames=find_tokenizer(config, "vqgan").uri,
        sketches=find_tokenizer(config, "vqgan_seg").uri if has_sketches else "",
        initial=_here(config.store, told["initial"]),
    )


def _here(store: str, initial: str) -> str:
    """The export that a training began with; a store may have been moved since, with all in it."""
    own = artifacts.artifact_uri(store, EXPORT, initial.rpartition("/")[2])
    return own if initial and storage.exists(storage.join(own, artifacts.MANIFEST)) else initial


def _refuse_other(tokenizer: VQGAN | None, where: str, trained_on: str) -> None:
    found = tokenizer.fingerprint if tokenizer else ""
    if found != trained_on:
        raise ArtifactError(
            f"The model was trained on tokens of {trained_on or 'no tokenizer'}, but {where} is "
            f"{found}: bring the first one back to the store."
        )


def _config_of(source: Artifact) -> RunConfig:
    """The settings that a manifest tells, for the store where the checkpoint lies now."""
    store, found, _ = source.uri.rpartition(f"/artifacts/{source.kind}/{source.name}")
    if not found:
        raise ArtifactError(
            f"{source.uri} lies in no store, where its tokenizers would be: export it from "
            f"STORE/artifacts/{source.kind}/{source.name}."
        )
    tree: dict[str, Any] = {**source.config, "store": store}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(tree, file)
        file.flush()
        return load_config(file.name)
