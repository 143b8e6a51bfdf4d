"""Trainings of VQ-GANs: planned from settings, and placed by Ray Train."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from nuwa_model.config import VQGANConfig
from pipelines import cluster, storage
from pipelines.config import RunConfig, TokenizerTrainingConfig, config_tree
from pipelines.loading.pictures import Content
from pipelines.store.leases import lease
from pipelines.store.table import StoreTable
from pipelines.training import checkpoint
from pipelines.training.launch import launch
from pipelines.training.vqgan import train_each
from pipelines.training.vqgan_plan import VQGANPlan
from pipelines.training.vqgan_samples import NEWEST


def plan_run(
    config: RunConfig,
    kind: str,
    name: str,
    *,
    content: Content,
    vqgan: VQGANConfig,
    training: TokenizerTrainingConfig,
    shrink: int = 1,
    clips_version: int | None = None,
) -> VQGANPlan:
    """Pin the clips and find the ranks; a run that goes on keeps the clips it began with.

    Args:
        config: Settings of the run.
        kind: Of the artifact.
        name: Of the artifact and of the run.
        content: What is tokenized.
        vqgan: Shape of the model.
        training: How to train.
        shrink: Pixels of the clips, along each side, that are averaged into one.
        clips_version: Version of the clips to read; by default the one that the run began with,
            or else the newest.
    """
    store = storage.absolute(config.store)
    num_workers = cluster.num_ranks(training.num_workers, training.batch_size)
    version = begun_with(store, name) if clips_version is None else clips_version
    return VQGANPlan(
        store=store,
        kind=kind,
        name=name,
        content=content,
        vqgan=vqgan,
        training=replace(
            training,
            num_workers=num_workers,
            vgg16=_absolute(training.vgg16),
            lpips=_absolute(training.lpips),
        ),
        size=config.clips.size // shrink,
        shrink=shrink,
        clips_version=StoreTable(store, "clips").version() if version is None else version,
        config=config_tree(config),
    )


def begun_with(store: str, name: str) -> int | None:
    """The version of the clips that an unfinished run reads, if it left a checkpoint."""
    begun = checkpoint.newest(store, name)
    return None if begun is None else int(begun.metadata["clips_version"])


def train_runs(plans: Sequence[VQGANPlan], *, num_workers: int) -> None:
    """Train one after the other in the same ranks, and keep what they read from being vacuumed.

    Args:
        plans: At least one; what is complete already is passed by.
        num_workers: Ranks; each plan's own number.

    Raises:
        TrainingError: A deliberate error of a rank, in one line, or ranks died too often.
    """
    steps = sum(plan.training.steps for plan in plans)
    with ExitStack() as leases:
        for plan in plans:
            print(f"reconstructions of {plan.content} while training: {plan.samples}/{NEWEST}")
            versions = {"clips": plan.clips_version}
            leases.enter_context(lease(plan.store, plan.name, "reader", versions=versions))
        launch(train_each, plans, root=plans[0].root, num_workers=num_workers, steps=steps)


def _absolute(path: str) -> str:
    """For ranks, which work in other folders."""
    return storage.absolute(path) if path else ""
