"""Flow ``pretrain``: tokens to a model."""

from prefect import flow

from flows.jobs import stop_jobs
from flows.stages import Settings, run_stage


@flow(name="pretrain", on_cancellation=[stop_jobs], on_crashed=[stop_jobs])
def pretrain(preset: str = "tiny", run: str | None = None, overrides: tuple[str, ...] = ()) -> None:
    """Train the model on all tasks of the mixture, or go on where that was cut short."""
    settings = Settings(preset, run, overrides)
    run_stage("pretrain", settings)
