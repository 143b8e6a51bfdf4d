"""Flow ``evaluate``: a model to samples, samples to a report."""

from prefect import flow

from flows.closing import close_with_report
from flows.jobs import stop_jobs
from flows.stages import Settings, run_stage


@flow(name="evaluate", on_cancellation=[stop_jobs], on_crashed=[stop_jobs])
def evaluate(preset: str = "tiny", run: str | None = None, overrides: tuple[str, ...] = ()) -> None:
    """Draw samples, measure them, and write the report."""
    settings = Settings(preset, run, overrides)
    run_stage("generate", settings)
    record = run_stage("score", settings)
    close_with_report(settings, record)
