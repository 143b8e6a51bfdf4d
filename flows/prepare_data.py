"""Flow ``prepare-data``: raw videos and images to clips, captions to the text tokenizer."""

from prefect import flow

from flows.jobs import Job, run_job, stop_jobs


@flow(name="prepare-data", on_cancellation=[stop_jobs], on_crashed=[stop_jobs])
def prepare_data(
    preset: str = "tiny", run: str | None = None, overrides: tuple[str, ...] = ()
) -> None:
    """Cut the data set into clips, and train the text tokenizer from its captions."""
    for name in ("decode_clips", "train_text_tokenizer"):
        run_job(Job(name=name, preset=preset, run=run, overrides=overrides))
