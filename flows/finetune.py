"""Flow ``finetune``: a model to a better one at some tasks."""

from prefect import flow

from flows.jobs import stop_jobs
from flows.stages import Settings, run_stage


@flow(name="finetune", on_cancellation=[stop_jobs], on_crashed=[stop_jobs])
def finetune(preset: str = "tiny", run: str | None = None, overrides: tuple[str, ...] = ()) -> None:
    """Train a pre-trained model further."""
    settings = Settings(preset, run, overrides)
    run_stage("finetune", settings)
