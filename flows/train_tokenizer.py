"""Flow ``train-tokenizer``: clips, or the data set that they are cut from, to a VQ-GAN."""

from prefect import flow
from prefect.logging import get_run_logger

from flows.closing import close_with_report
from flows.jobs import stop_jobs
from flows.prepare_data import prepare_data
from flows.stages import Settings, run_stage
from pipelines.store.table import StoreTable


@flow(name="train-tokenizer", on_cancellation=[stop_jobs], on_crashed=[stop_jobs])
def train_tokenizer(
    preset: str = "tiny", run: str | None = None, overrides: tuple[str, ...] = ()
) -> None:
    """Train the VQ-GAN that turns frames into tokens, and the one for sketches, and report on them.

    A store without clips is filled first, from the data set that the settings name.
    """
    settings = Settings(preset, run, overrides)
    config = settings.config
    clips = StoreTable(config.store, "clips")
    if not clips.exists() or not clips.num_rows():
        logger, dataset = get_run_logger(), config.dataset
        logger.info("%s has no clips yet: they are cut from %s first", config.store, dataset.name)
        prepare_data(*settings)
    run_stage("train_vqgan", settings)
    close_with_report(settings, run_stage("score", settings))
