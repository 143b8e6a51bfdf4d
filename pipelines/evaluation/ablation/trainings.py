"""The trainings of an ablation: which there are, and those that are not finished yet."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines import artifacts
from pipelines.artifacts import Artifact
from pipelines.config import RunConfig, TokenizerTrainingConfig
from pipelines.errors import StoreError
from pipelines.evaluation.ablation.variants import Variant
from pipelines.store.table import StoreTable
from pipelines.training.vqgan_plan import VQGANPlan
from pipelines.training.vqgan_runs import begun_with, plan_run, train_runs

KIND = "ablation"
"""Of the artifacts, so that nothing takes them for the store's tokenizer."""


@dataclass(frozen=True)
class Training:
    """One variant with one seed.

    Attributes:
        variant: What is trained.
        training: How, with its own seed.
    """

    variant: Variant
    training: TokenizerTrainingConfig

    @property
    def name(self) -> str:
        """Of its artifact and of its run."""
        return self.variant.artifact_name(self.training)

    def find(self, store: str) -> Artifact:
        """What came out of it.

        Raises:
            ArtifactError: It is missing or damaged.
        """
        return artifacts.load(artifacts.artifact_uri(store, KIND, self.name))


def list_trainings(config: RunConfig, variants: Sequence[Variant]) -> list[Training]:
    """Every variant with every seed, in the order in which they are trained.

    Seed by seed, so that what is finished early can be compared.
    """
    seeds = zip(*(variant.trainings(config.ablation.seeds) for variant in variants), strict=True)
    return [
        Training(variant, training)
        for together in seeds
        for variant, training in zip(variants, together, strict=True)
    ]


def pin_clips(config: RunConfig, trainings: Sequence[Training]) -> int:
    """The version of the clips that all of them read: of the first that began, else the newest.

    Raises:
        StoreError: There is no clip to train on.
    """
    store = config.store
    for name in (training.name for training in trainings):
        if artifacts.is_complete(store, KIND, name):
            uri = artifacts.artifact_uri(store, KIND, name)
            return int(artifacts.read_manifest(uri).metadata["clips_version"])
        begun = begun_with(store, name)
        if begun is not None:
            return begun
    table = StoreTable(store, "clips")
    if not table.exists() or not table.num_rows({"split": "train"}):
        raise StoreError(f"{store} has no clips of split train yet: run prepare-data first.")
    return table.version()


def train_missing(config: RunConfig, trainings: Sequence[Training], *, clips_version: int) -> int:
    """Train what is not complete; how many that were.

    Raises:
        TrainingError: A deliberate error of a rank, in one line, or ranks died too often.
    """
    missing = [
        training
        for training in trainings
        if not artifacts.is_complete(config.store, KIND, training.name)
    ]
    plans = [make_plan(config, training, clips_version=clips_version) for training in missing]
    if plans:
        train_runs(plans, num_workers=plans[0].training.num_workers)
    return len(plans)


def make_plan(config: RunConfig, training: Training, *, clips_version: int) -> VQGANPlan:
    """What the ranks are told of one training."""
    return plan_run(
        config,
        KIND,
        training.name,
        content="frames",
        vqgan=training.variant.vqgan,
        training=training.training,
        shrink=training.variant.shrink,
        clips_version=clips_version,
    )
