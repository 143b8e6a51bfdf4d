"""What the training of a VQ-GAN is made of: found once, read by every rank."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nuwa_model.config import VQGANConfig
from pipelines import storage
from pipelines.config import TokenizerTrainingConfig
from pipelines.loading.pictures import Content, Pictures
from pipelines.training.run import run_root

ARTIFACT_KINDS: Mapping[Content, str] = {"frames": "vqgan", "sketches": "vqgan_seg"}


@dataclass(frozen=True, kw_only=True)
class VQGANPlan:
    """All that a rank needs to know; plain values, so that it travels.

    Attributes:
        store: Root of the store; absolute.
        kind: Of the artifact.
        name: Of the artifact and of the run.
        content: What is tokenized.
        vqgan: Shape of the model.
        training: How to train.
        size: Height and width of the pictures it is trained on.
        shrink: Pixels of the clips, along each side, that are averaged into one of these.
        clips_version: Version of the clips table that is read, pinned when the run began.
        config: The resolved settings, for manifests.
    """

    store: str
    kind: str
    name: str
    content: Content
    vqgan: VQGANConfig
    training: TokenizerTrainingConfig
    size: int
    shrink: int = 1
    clips_version: int
    config: Mapping[str, Any]

    @property
    def root(self) -> str:
        """Folder of what the run keeps beside its artifact."""
        return run_root(self.store, self.name)

    @property
    def samples(self) -> str:
        """Folder of what the model in training makes of pictures."""
        return storage.join(self.root, "samples")

    def pictures(self, split: str) -> Pictures:
        """Pictures of a split."""
        return Pictures.load(
            self.store,
            self.content,
            split,
            size=self.size * self.shrink,
            shrink=self.shrink,
            version=self.clips_version,
        )
