"""Flow ``tokenize``: clips to tokens."""

from prefect import flow

from flows.jobs import stop_jobs
from flows.stages import Settings, run_stage


@flow(name="tokenize", on_cancellation=[stop_jobs], on_crashed=[stop_jobs])
def tokenize(preset: str = "tiny", run: str | None = None, overrides: tuple[str, ...] = ()) -> None:
    """Turn every clip into tokens, with the given VQ-GAN or the one these settings train."""
    settings = Settings(preset, run, overrides)
    if not settings.config.tokenizer:
        run_stage("train_vqgan", settings)
    run_stage("tokenize_clips", settings)
