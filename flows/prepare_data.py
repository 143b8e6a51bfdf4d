"""Flow ``prepare-data``: raw videos and images to clips, captions to the text tokenizer."""

from prefect import flow

from flows.jobs import stop_jobs
from flows.stages import Settings, run_stage


@flow(name="prepare-data", on_cancellation=[stop_jobs], on_crashed=[stop_jobs])
def prepare_data(
    preset: str = "tiny", run: str | None = None, overrides: tuple[str, ...] = ()
) -> None:
    """Cut the data set into clips, and train the text tokenizer from its captions."""
    settings = Settings(preset, run, overrides)
    run_stage("decode_clips", settings)
    run_stage("train_text_tokenizer", settings)
