"""Flow ``prepare-data``: raw videos and images to clips, captions to the text tokenizer."""

from prefect import flow
from prefect.logging import get_run_logger

from flows.jobs import stop_jobs
from flows.stages import Settings, run_stage
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.store.table import StoreTable


@flow(name="prepare-data", on_cancellation=[stop_jobs], on_crashed=[stop_jobs])
def prepare_data(
    preset: str = "tiny", run: str | None = None, overrides: tuple[str, ...] = ()
) -> None:
    """Cut the data set into clips, and train the text tokenizer from its captions."""
    settings = Settings(preset, run, overrides)
    run_stage("decode_clips", settings)
    run_stage("train_text_tokenizer", settings)


def prepare_if_needed(settings: Settings) -> None:
    """Run the flow ``prepare-data`` for a store that it never filled to the end."""
    config, logger = settings.config, get_run_logger()
    if _is_prepared(config):
        num_clips = StoreTable(config.store, "clips").num_rows()
        logger.info("%s has %d clips; prepare-data looks for more", config.store, num_clips)
        return
    logger.info("%s is filled from %s first", config.store, config.dataset.name)
    prepare_data(*settings)


def _is_prepared(config: RunConfig) -> bool:
    """Whether a preparation came to its end here, or clips of another data set tell of one."""
    if storage.exists(storage.join(config.store, "records", "decode_clips.json")):
        return True
    clips = StoreTable(config.store, "clips")
    return clips.exists() and clips.num_rows() > clips.num_rows({"dataset": config.dataset.name})
