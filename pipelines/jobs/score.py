"""Judge the samples of a run and write its report."""

from typing import Any

from pipelines.command import run_job
from pipelines.config import RunConfig
from pipelines.errors import StoreError
from pipelines.evaluation.goals import key_numbers
from pipelines.evaluation.material import gather
from pipelines.evaluation.report import Report, write_report
from pipelines.evaluation.score import score_all
from pipelines.evaluation.stages import read_stages


def score(config: RunConfig) -> dict[str, Any]:
    """Score what the run left behind, as far as it got, and write the report over any earlier one.

    Raises:
        StoreError: There is nothing yet that a report could be about.
    """
    material = gather(config)
    if not material.clips and not material.samples and material.vqgan is None:
        raise StoreError(
            f"{config.store} holds no clips, no samples and no tokenizer to report on: "
            "run the flow prepare-data first."
        )
    scores, left_out = score_all(material)
    stages = read_stages(config.store)
    report = Report(material=material, scores=scores, left_out=left_out, stages=stages)
    page = write_report(config.report_root, report)
    tiles = key_numbers(material, scores)
    return {
        "report": page,
        "num_samples": len(material.samples),
        "num_metrics": len(scores),
        "num_left_out": len(left_out),
        **{f"{tile.score.task} {tile.score.metric}": round(tile.score.value, 4) for tile in tiles},
    }


if __name__ == "__main__":
    run_job(score)
