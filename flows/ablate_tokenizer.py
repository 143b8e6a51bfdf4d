"""Flow ``ablate-tokenizer``: clips to a comparison of tokenizers."""

from prefect import flow

from flows.closing import close_with_ablation
from flows.jobs import stop_jobs
from flows.prepare_data import prepare_if_needed
from flows.stages import Settings, run_stage
from pipelines.evaluation.ablation.variants import make_variants


@flow(name="ablate-tokenizer", on_cancellation=[stop_jobs], on_crashed=[stop_jobs])
def ablate_tokenizer(
    preset: str = "tiny", run: str | None = None, overrides: tuple[str, ...] = ()
) -> None:
    """Compare VQ-VAE with VQ-GAN, and more tokens with less compression, as NÜWA's Table 4 does."""
    settings = Settings(preset, run, overrides)
    make_variants(settings.config)  # settings that leave nothing to compare are refused at once
    prepare_if_needed(settings)
    record = run_stage("ablate_tokenizer", settings)
    close_with_ablation(record["report"])
