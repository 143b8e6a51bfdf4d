"""Job: compare tokenizers as NÜWA's Table 4 does, and write the report."""

from typing import Any

from pipelines.command import run_job
from pipelines.config import RunConfig
from pipelines.evaluation.ablation.page import AblationReport, write_page
from pipelines.evaluation.ablation.results import measure_all
from pipelines.evaluation.ablation.trainings import list_trainings, pin_clips, train_missing
from pipelines.evaluation.ablation.variants import make_variants
from pipelines.evaluation.ablation.yardstick import Yardstick


def ablate_tokenizer(config: RunConfig) -> dict[str, Any]:
    """Train every variant with every seed, measure them all by one yardstick, and report.

    Raises:
        ConfigError: The settings leave nothing to compare.
        StoreError: There are no clips, or too few pictures to measure on.
        TrainingError: A training failed.
    """
    variants = make_variants(config)
    trainings = list_trainings(config, variants)
    clips_version = pin_clips(config, trainings)
    # Before anything is trained, because it fails where there are too few pictures.
    yardstick = Yardstick.make(config, clips_version=clips_version)
    num_trained = train_missing(config, trainings, clips_version=clips_version)
    rows = measure_all(config, variants, trainings, yardstick)
    page = write_page(AblationReport(config=config, yardstick=yardstick, rows=rows))
    distances = {row.variant.name: round(row.mean("frechet"), 4) for row in rows}
    return {
        "report": page,
        "num_trainings": len(trainings),
        "num_trained": num_trained,
        **{f"{yardstick.metric} {name}": value for name, value in distances.items()},
    }


if __name__ == "__main__":
    run_job(ablate_tokenizer)
