"""Fine-tune a pre-trained export on the tasks in ``config.finetuning``."""

from typing import Any

from pipelines import artifacts, names
from pipelines.command import run_job
from pipelines.config import RunConfig
from pipelines.training.exporting import EXPORT
from pipelines.training.plan import make_plan
from pipelines.training.publish import train_and_publish


def finetune(config: RunConfig) -> dict[str, Any]:
    """Train on from ``config.checkpoint``, or the store's own export, and publish another."""
    export = names.finetune_export_name(config)
    if artifacts.is_complete(config.store, EXPORT, export):
        uri = artifacts.artifact_uri(config.store, EXPORT, export)
        return {"was_complete": True, "export": uri}
    start = artifacts.find(
        config.store, EXPORT, names.pretrain_export_name(config), config.checkpoint
    )
    name = names.finetune_name(config)
    return train_and_publish(make_plan(config, config.finetuning, name, initial=start))


if __name__ == "__main__":
    run_job(finetune)
