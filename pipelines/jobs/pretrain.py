"""Pre-train the transformer on the mixture of tasks in ``config.training``."""

from typing import Any

from pipelines import artifacts, names
from pipelines.command import run_job
from pipelines.config import RunConfig
from pipelines.training.exporting import EXPORT
from pipelines.training.plan import make_plan
from pipelines.training.publish import train_and_publish


def pretrain(config: RunConfig) -> dict[str, Any]:
    """Train from random weights and publish an export."""
    export = names.pretrain_export_name(config)
    if artifacts.is_complete(config.store, EXPORT, export):
        uri = artifacts.artifact_uri(config.store, EXPORT, export)
        return {"was_complete": True, "export": uri}
    return train_and_publish(make_plan(config, config.training, names.pretrain_name(config)))


if __name__ == "__main__":
    run_job(pretrain)
