"""What a training is made of: found once, and built by every rank for itself."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from nuwa_model.errors import ConfigError
from nuwa_model.export import Export
from nuwa_model.model import Nuwa
from nuwa_model.tokenizers.text import TextTokenizer
from nuwa_model.tokenizers.vqgan import VQGAN
from pipelines import artifacts, cluster, storage
from pipelines.artifacts import Artifact
from pipelines.config import RunConfig, TrainingConfig, config_tree
from pipelines.errors import StoreError, TrainingError
from pipelines.loading.loader import TrainingLoader
from pipelines.run_tokenizers import find_sketch_tokenizer, find_tokenizer, refuse_text
from pipelines.store.table import store_versions
from pipelines.training import checkpoint
from pipelines.training.loop import train
from pipelines.training.observers import Observers
from pipelines.training.ranks import Ranks
from pipelines.training.run import TrainingRun

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """All that a rank needs to know; plain values, so that it travels.

    Attributes:
        config: Settings of the run.
        training: ``config.training`` or ``config.finetuning``.
        name: Of the run.
        store_version: Version of each table that is read, pinned when the run began.
        text: Artifact of the text tokenizer; empty takes that of ``initial``.
        frames: Artifact of the VQ-GAN.
        sketches: Artifact of the sketch VQ-GAN, or empty.
        initial: Artifact of the export to start from, or empty.
    """

    config: RunConfig
    training: TrainingConfig
    name: str
    store_version: Mapping[str, int]
    text: str
    frames: str
    sketches: str = ""
    initial: str = ""


def make_plan(
    config: RunConfig, training: TrainingConfig, name: str, *, initial: Artifact | None = None
) -> TrainingPlan:
    """Find the tokenizers and pin the store; a run that goes on keeps the version it began with.

    Raises:
        ArtifactError: A tokenizer is missing, or several could be meant.
        ConfigError: A tokenizer has another shape than the settings say, or there are no steps.
    """
    if not training.steps:
        raise ConfigError(
            "steps is 0, so nothing would be trained: set training.steps, or finetuning.steps."
        )
    # Ranks work in other folders and on other machines, so no path may depend on this one's.
    config = replace(config, store=storage.absolute(config.store))
    store = config.store
    start = storage.absolute(initial.uri) if initial else ""
    frames = find_tokenizer(config, "vqgan")
    sketches = find_sketch_tokenizer(config)
    begun = checkpoint.newest(store, name)
    share = training.batch_size // training.gradient_accumulation
    num_workers = cluster.num_ranks(training.num_workers, share)
    return TrainingPlan(
        config=config,
        training=replace(training, num_workers=num_workers),
        name=name,
        store_version=begun.metadata["store_version"] if begun else store_versions(store),
        # A model goes on with the text tokenizer that it knows.
        text="" if start else _text_tokenizer(config, begun),
        frames=storage.absolute(frames.uri),
        sketches=storage.absolute(sketches.uri) if sketches else "",
        initial=start,
    )


def _text_tokenizer(config: RunConfig, begun: Artifact | None) -> str:
    """The given one, else that of the captions; a run that goes on keeps the one it began with."""
    own = begun.metadata.get("text_tokenizer", "") if begun else ""
    return storage.absolute(find_tokenizer(config, "text_tokenizer", own).uri)


def train_rank(plan: TrainingPlan, observers: Observers) -> Artifact:
    """Build model and loaders, and train: what every rank does.

    Raises:
        NuwaError: Weights, tokens and settings do not fit each other, or training failed.
    """
    text = load_text(plan)
    frames, sketches = load_tokenizers(plan)
    fingerprints = {
        "fingerprint": frames.fingerprint,
        "sketch_fingerprint": sketches.fingerprint if sketches else "",
    }
    run = TrainingRun(
        store=plan.config.store,
        name=plan.name,
        training=plan.training,
        config=config_tree(plan.config),
        metadata={
            "store_version": plan.store_version,
            "text_tokenizer": plan.text.rpartition("/")[2],
            **fingerprints,
            "initial": plan.initial,
        },
    )
    model = build_model(plan, frames, sketches)
    return train(
        run,
        model,
        _loader(plan, text, fingerprints, "train"),
        validation=_validation_loader(plan, text, fingerprints),
        observers=observers,
    )


def load_tokenizers(plan: TrainingPlan) -> tuple[VQGAN, VQGAN | None]:
    """The frame tokenizer, and the sketch tokenizer if there is one."""
    frames = VQGAN.from_pretrained(artifacts.folder_at(plan.frames))
    if not plan.sketches:
        return frames, None
    return frames, VQGAN.from_pretrained(artifacts.folder_at(plan.sketches))


def build_model(plan: TrainingPlan, frames: VQGAN, sketches: VQGAN | None) -> Nuwa:
    """The model before its first step: random by the seed, or the export's.

    Raises:
        TrainingError: The export has another shape or another frame tokenizer.
    """
    torch.manual_seed(plan.training.seed)
    model = Nuwa(plan.config.model)
    if plan.initial:
        export = Export.load(artifacts.folder_at(plan.initial))
        if export.model.config != plan.config.model:
            raise TrainingError(
                f"The model of {plan.initial} has another shape than these settings: use the "
                f"settings it was trained with, {export.model.config}."
            )
        if export.frames.fingerprint != frames.fingerprint:
            raise TrainingError(
                f"{plan.initial} was trained on tokens of {export.frames.fingerprint}, but "
                f"{plan.frames} is {frames.fingerprint}: set tokenizer to its vqgan folder and "
                "tokenize with it."
            )
        model = export.model
    model.set_codebooks(frames.codebook, None if sketches is None else sketches.codebook)
    model.checkpoint_activations(plan.training.activation_checkpointing)
    return model


def load_text(plan: TrainingPlan) -> TextTokenizer:
    """The text tokenizer.

    Raises:
        ConfigError: The model has no room for it.
    """
    where = plan.text or plan.initial
    folder = artifacts.folder_at(where)
    text = TextTokenizer.from_pretrained(folder if plan.text else folder / "text_tokenizer")
    refuse_text(where, text.vocabulary, text.length, plan.config.model)
    return text


def _loader(
    plan: TrainingPlan, text: TextTokenizer, fingerprints: Mapping[str, str], split: str
) -> TrainingLoader:
    ranks = Ranks.from_environment()
    return TrainingLoader(
        plan.config,
        plan.training,
        store_version=plan.store_version,
        text=text,
        rank=ranks.rank,
        world_size=ranks.world_size,
        split=split,
        **fingerprints,
    )


def _validation_loader(
    plan: TrainingPlan, text: TextTokenizer, fingerprints: Mapping[str, str]
) -> TrainingLoader | None:
    """Held-out batches; a data set without such examples trains without validation."""
    try:
        return _loader(plan, text, fingerprints, "validation")
    except (StoreError, ConfigError) as error:
        logger.info("validation=none reason=%s", error)
        return None
