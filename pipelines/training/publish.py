"""From the last checkpoint of a run to an export that can generate."""

import tempfile
from typing import Any

from pipelines import artifacts
from pipelines.artifacts import Artifact
from pipelines.config import config_tree
from pipelines.errors import TrainingError
from pipelines.names import export_name
from pipelines.store.leases import lease
from pipelines.training import checkpoint
from pipelines.training.exporting import EXPORT, build_export, export_metadata
from pipelines.training.launch import launch
from pipelines.training.plan import TrainingPlan, train_rank
from pipelines.training.run import run_root
from pipelines.training.saved import is_final, name_of

_TOLD = {
    *("step", "steps", "loss", "validation_loss", "precision"),
    *("tokens_per_s", "mfu", "data_wait", "memory_gb"),
}


def train_and_publish(plan: TrainingPlan) -> dict[str, Any]:
    """Train what is left of a run, publish its export, and return a record for the job's end.

    Vacuum leaves the pinned versions alone while it trains.
    """
    last = checkpoint.newest(plan.config.store, plan.name)
    if last is None or not is_final(last, plan.training.steps):
        with lease(plan.config.store, plan.name, "reader", versions=plan.store_version):
            launch(
                train_rank,
                plan,
                root=run_root(plan.config.store, plan.name),
                num_workers=plan.training.num_workers,
                steps=plan.training.steps,
                saves_when_told=True,
            )
    export = publish_export(plan)
    return {"export": export.uri, **{k: v for k, v in export.metadata.items() if k in _TOLD}}


def publish_export(plan: TrainingPlan) -> Artifact:
    """Make an export of the averaged weights of a run's last checkpoint, or of its best.

    Raises:
        TrainingError: The run has not reached its last step.
        ArtifactError: The best checkpoint is damaged.
    """
    last = checkpoint.newest(plan.config.store, plan.name)
    if last is None or not is_final(last, plan.training.steps):
        raise TrainingError(
            f"{plan.name} stands at step {last.metadata['step'] if last else 0} of "
            f"{plan.training.steps}: train to the end first."
        )
    chosen = _best(plan, last) if plan.training.export == "best" else last
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        build_export(plan, chosen).save(folder)
        return artifacts.publish(
            plan.config.store,
            EXPORT,
            export_name(plan.name, plan.training),
            folder,
            config=config_tree(plan.config),
            metadata=export_metadata(chosen),
        )


def _best(plan: TrainingPlan, last: Artifact) -> Artifact:
    name = name_of(plan.name, last.metadata["best_step"])
    best = artifacts.load(artifacts.artifact_uri(plan.config.store, checkpoint.KIND, name))
    artifacts.sound_folder(best)
    return best
