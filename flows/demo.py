"""Flow ``demo``: the whole way, from raw videos to a report."""

from prefect import flow

from flows.evaluate import evaluate
from flows.finetune import finetune
from flows.jobs import stop_jobs
from flows.prepare_data import prepare_data
from flows.pretrain import pretrain
from flows.stages import Settings, run_stage
from flows.tokenize_clips import tokenize
from pipelines import names


@flow(name="demo", on_cancellation=[stop_jobs], on_crashed=[stop_jobs])
def demo(preset: str = "tiny", run: str | None = None, overrides: tuple[str, ...] = ()) -> None:
    """Videos to clips to tokens to a model to samples to a report."""
    settings = Settings(preset, run, overrides)
    prepare_data(*settings)
    run_stage("train_vqgan", settings)  # the flow would write a report, as evaluate does
    tokenize(*settings)
    pretrain(*settings)
    if settings.config.finetuning.steps > 0:
        finetune(*settings)
        settings = settings.sampling_from(names.finetune_export_name(settings.config))
    evaluate(*settings)
