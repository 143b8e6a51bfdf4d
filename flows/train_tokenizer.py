"""Flow ``train-tokenizer``: clips to a VQ-GAN."""

from prefect import flow

from flows.jobs import stop_jobs
from flows.stages import Settings, run_stage


@flow(name="train-tokenizer", on_cancellation=[stop_jobs], on_crashed=[stop_jobs])
def train_tokenizer(
    preset: str = "tiny", run: str | None = None, overrides: tuple[str, ...] = ()
) -> None:
    """Train the VQ-GAN that turns frames into tokens, and the one for sketches."""
    settings = Settings(preset, run, overrides)
    run_stage("train_vqgan", settings)
