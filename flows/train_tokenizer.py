"""Flow ``train-tokenizer``: clips, or the data set that they are cut from, to a VQ-GAN."""

from prefect import flow

from flows.closing import close_with_report
from flows.jobs import stop_jobs
from flows.prepare_data import prepare_if_needed
from flows.stages import Settings, run_stage


@flow(name="train-tokenizer", on_cancellation=[stop_jobs], on_crashed=[stop_jobs])
def train_tokenizer(
    preset: str = "tiny", run: str | None = None, overrides: tuple[str, ...] = ()
) -> None:
    """Train the VQ-GAN that turns frames into tokens, and the one for sketches, and report on them.

    A store without clips is filled first, from the data set that the settings name.
    """
    settings = Settings(preset, run, overrides)
    prepare_if_needed(settings)
    run_stage("train_vqgan", settings)
    close_with_report(settings, run_stage("score", settings))
