"""Job: train the tokenizers of frames and, where the store has any, of sketches."""

from itertools import groupby
from typing import Any

from nuwa_model.config import VQGANConfig
from nuwa_model.errors import ConfigError
from pipelines import artifacts, names
from pipelines.artifacts import Artifact
from pipelines.command import run_job
from pipelines.config import RunConfig, TokenizerTrainingConfig
from pipelines.errors import StoreError
from pipelines.loading.pictures import KINDS, Content
from pipelines.run_tokenizers import given
from pipelines.store.table import StoreTable
from pipelines.training.vqgan_plan import ARTIFACT_KINDS, VQGANPlan
from pipelines.training.vqgan_runs import plan_run, train_runs

_TOLD = ("fingerprint", "psnr", "ssim", "pixel_accuracy", "fwiou", "codes_alive", "perplexity")


def train_vqgan(config: RunConfig) -> dict[str, Any]:
    """Train the tokenizers of frames and, where the store has any, of sketches.

    One that the settings give is not trained.
    """
    skipped = {
        content: reason for content in ARTIFACT_KINDS if (reason := _skipped(config, content))
    }
    for content, reason in skipped.items():
        print(f"no {ARTIFACT_KINDS[content]}: {reason}")
    contents = [content for content in ARTIFACT_KINDS if content not in skipped]
    # Sketches first: labels that do not fit are told of before frames take their hours.
    missing = [content for content in reversed(contents) if not _is_complete(config, content)]
    plans = [make_plan(config, content) for content in missing]
    for num_workers, alike in groupby(plans, key=lambda plan: plan.training.num_workers):
        train_runs(list(alike), num_workers=num_workers)
    told = {content: {"skipped": reason} for content, reason in skipped.items()}
    told |= {content: _tell(config, content, is_new=content in missing) for content in contents}
    return {**told["frames"], "was_complete": not missing, "sketches": told["sketches"]}


def _skipped(config: RunConfig, content: Content) -> str:
    """Why there is nothing to train; empty if there is."""
    tokenizer = given(config, ARTIFACT_KINDS[content])
    if tokenizer:
        return f"{tokenizer} is given"
    has_none = content == "sketches" and not _count_clips(config.store, content)
    return "the clips table has no sketches" if has_none else ""


def _is_complete(config: RunConfig, content: Content) -> bool:
    name = _settings(config, content)[0]
    return artifacts.is_complete(config.store, ARTIFACT_KINDS[content], name)


def _tell(config: RunConfig, content: Content, *, is_new: bool) -> dict[str, Any]:
    kind, name = ARTIFACT_KINDS[content], _settings(config, content)[0]
    artifact = artifacts.load(artifacts.artifact_uri(config.store, kind, name))
    print(f"{kind} {'trained' if is_new else 'already complete'}: {_summary(artifact)}")
    told = {key: artifact.metadata[key] for key in _TOLD if key in artifact.metadata}
    return {"artifact": artifact.uri, **told}


def make_plan(config: RunConfig, content: Content) -> VQGANPlan:
    """Check that there is something to train on; a run that goes on keeps the clips it began with.

    Raises:
        StoreError: There is no clip to train on.
        ConfigError: Pictures of that size cannot be compressed by it.
    """
    name, vqgan, training = _settings(config, content)
    if config.clips.size % vqgan.factor:
        raise ConfigError(
            f"clips.size ({config.clips.size}) must be a multiple of the compression of "
            f"{ARTIFACT_KINDS[content]} ({vqgan.factor}): set its width_multipliers to fewer."
        )
    if not _count_clips(config.store, content, "train"):
        raise StoreError(
            f"{config.store} has no {content} of split train: give the data set more sources, or "
            "lower dataset.validation_fraction, and run prepare-data."
        )
    kind = ARTIFACT_KINDS[content]
    return plan_run(config, kind, name, content=content, vqgan=vqgan, training=training)


def _settings(
    config: RunConfig, content: Content
) -> tuple[str, VQGANConfig, TokenizerTrainingConfig]:
    if content == "frames":
        return names.vqgan_name(config), config.vqgan, config.vqgan_training
    return names.vqgan_seg_name(config), config.vqgan_seg, config.vqgan_seg_training


def _count_clips(store: str, content: Content, *splits: str) -> int:
    where = {"kind": KINDS[content], **({"split": splits} if splits else {})}
    return StoreTable(store, "clips").num_rows(where)


def _summary(artifact: Artifact) -> str:
    numbers = {key: artifact.metadata[key] for key in _TOLD[1:] if key in artifact.metadata}
    return " ".join([artifact.uri, *(f"{key}={value:.4g}" for key, value in numbers.items())])


if __name__ == "__main__":
    run_job(train_vqgan)
