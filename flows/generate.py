"""Flow ``generate``: a model to samples."""

from prefect import flow

from flows.jobs import stop_jobs
from flows.stages import Settings, run_stage


@flow(name="generate", on_cancellation=[stop_jobs], on_crashed=[stop_jobs])
def generate(preset: str = "tiny", run: str | None = None, overrides: tuple[str, ...] = ()) -> None:
    """Draw the samples that the settings ask for."""
    settings = Settings(preset, run, overrides)
    run_stage("generate", settings)
