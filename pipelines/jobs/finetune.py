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
    name = names.finetune_name(config)
    if artifacts.is_complete(config.store, EXPORT, name):
        uri = artifacts.artifact_uri(config.store, EXPORT, name)
        return {"was_complete": True, "export": uri}
    pretrained = artifacts.find(
        config.store, EXPORT, names.pretrain_name(config), config.checkpoint
    )
    plan = make_plan(config, config.finetuning, name, initial=pretrained)
    return train_and_publish(plan)


if __name__ == "__main__":
    run_job(finetune)
