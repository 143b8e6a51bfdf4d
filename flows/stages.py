"""What every flow is told, and how it runs one stage: a job, unless its artifacts stand already."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from prefect.logging import get_run_logger

from flows.jobs import Job, run_job
from pipelines import artifacts, names
from pipelines.config import RunConfig
from pipelines.run_tokenizers import given
from pipelines.settings import load_config

MAKES: Mapping[str, Mapping[str, Callable[[RunConfig], str]]] = {
    "train_text_tokenizer": {"text_tokenizer": names.text_tokenizer_name},
    "train_vqgan": {"vqgan": names.vqgan_name, "vqgan_seg": names.vqgan_seg_name},
    "pretrain": {"export": names.pretrain_export_name},
    "finetune": {"export": names.finetune_export_name},
}
"""Kind and name of the artifacts that a job makes, unless they stand or are given."""


class Settings(NamedTuple):
    """The three ways to say what a run is (D6), as every flow and job takes them."""

    preset: str
    run: str | None
    overrides: tuple[str, ...]

    @property
    def config(self) -> RunConfig:
        """The settings they amount to."""
        return load_config(self.run, preset=self.preset, overrides=self.overrides)

    def sampling_from(self, export: str) -> "Settings":
        """The same run with samples of another export than pre-training's."""
        return self._replace(overrides=(*self.overrides, f"checkpoint={export}"))


def run_stage(job: str, settings: Settings) -> dict[str, Any]:
    """Run a job by name and return its record.

    One whose artifacts are all complete, or given, is not even started; it would only say so.
    """
    config = settings.config
    made = {kind: given(config, kind) or name(config) for kind, name in MAKES.get(job, {}).items()}
    if made and all(_stands(config, *item) for item in made.items()):
        get_run_logger().info("%s is already complete: %s", job, ", ".join(made.values()))
        return {"job": job, "was_complete": True}
    return run_job(
        Job(name=job, preset=settings.preset, run=settings.run, overrides=settings.overrides)
    )


def _stands(config: RunConfig, kind: str, name: str) -> bool:
    return bool(given(config, kind)) or artifacts.is_complete(config.store, kind, name)
