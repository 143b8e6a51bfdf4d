"""All sections together: everything a flow or a job can be told."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from nuwa_model.config import RGB_CHANNELS, NuwaConfig, VQGANConfig
from nuwa_model.errors import ConfigError
from nuwa_model.presets import SKETCH_VQGANS
from pipelines import storage
from pipelines.config.ablation import AblationConfig
from pipelines.config.data import ClipsConfig, DatasetConfig, FetchConfig, TokenizeConfig
from pipelines.config.generation import GenerationConfig
from pipelines.config.training import TokenizerTrainingConfig, TrainingConfig


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything a flow or a job can be told.

    Args:
        store: Folder or ``s3://`` prefix that holds tables, artifacts and reports.
        report: Folder of the report; empty means ``report`` inside the store.
        tokenizer: VQ-GAN artifact to use, its name in the store or its folder; empty finds the
            store's own.
        sketch_tokenizer: VQ-GAN artifact of sketches to use; empty finds the store's own.
        text_tokenizer: Text tokenizer artifact to use; empty finds the store's own. Fine-tuning
            keeps that of the model it begins with.
        checkpoint: Model export to use; empty finds the store's own.
        dataset: Where videos and images come from.
        fetch: How media behind an address is downloaded.
        clips: How raw media becomes clips.
        model: Shape of the transformer.
        vqgan: Shape of the frame tokenizer.
        vqgan_seg: Shape of the sketch tokenizer.
        vqgan_training: How the frame tokenizer is trained.
        vqgan_seg_training: How the sketch tokenizer is trained.
        tokenize: How clips become tokens.
        training: Pre-training.
        finetuning: Fine-tuning, from a pre-trained model.
        generation: What is sampled.
        ablation: How tokenizers are compared.
    """

    store: str = "runs/tiny"
    report: str = ""
    tokenizer: str = ""
    sketch_tokenizer: str = ""
    text_tokenizer: str = ""
    checkpoint: str = ""
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    fetch: FetchConfig = field(default_factory=FetchConfig)
    clips: ClipsConfig = field(default_factory=ClipsConfig)
    model: NuwaConfig = field(default_factory=NuwaConfig)
    vqgan: VQGANConfig = field(default_factory=VQGANConfig)
    vqgan_seg: VQGANConfig = field(default_factory=lambda: SKETCH_VQGANS["tiny"])
    vqgan_training: TokenizerTrainingConfig = field(default_factory=TokenizerTrainingConfig)
    vqgan_seg_training: TokenizerTrainingConfig = field(default_factory=TokenizerTrainingConfig)
    tokenize: TokenizeConfig = field(default_factory=TokenizeConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    finetuning: TrainingConfig = field(
        default_factory=lambda: TrainingConfig(
            tasks={"T2V": 1.0}, given_frames=1, steps=10, learning_rate=2e-4
        )
    )
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    ablation: AblationConfig = field(default_factory=AblationConfig)

    def __post_init__(self) -> None:
        """Refuse contradictions between sections; each section checks itself."""
        if not self.store.strip():
            raise ConfigError("store is empty; expected a folder, such as runs/mine.")
        self._refuse_channels()
        self._refuse_grid()
        self._refuse_codebook("vqgan", "")
        self._refuse_codebook("vqgan_seg", "sketch_")
        self._refuse_lengths()

    def _refuse_channels(self) -> None:
        """Refuse frames that are not RGB, and sketches that are."""
        if self.vqgan.is_for_sketches:
            raise ConfigError(
                f"vqgan.channels is {self.vqgan.channels}, but frames are RGB; expected "
                f"{RGB_CHANNELS}."
            )
        if not self.vqgan_seg.is_for_sketches:
            raise ConfigError(
                f"vqgan_seg.channels is {RGB_CHANNELS}, which means RGB frames: set it to "
                f"{RGB_CHANNELS + 1} or more, however few classes the sketches have."
            )

    def _refuse_grid(self) -> None:
        """Refuse clips that do not become the tokens that the model is for."""
        if self.clips.size % self.vqgan.factor:
            raise ConfigError(
                f"clips.size ({self.clips.size}) must be a multiple of {self.vqgan.factor}, the "
                "compression of vqgan."
            )
        tokens = self.clips.size // self.vqgan.factor
        expected = self.model.target_grid._replace(s=self.clips.num_frames, h=tokens, w=tokens)
        if self.model.target_grid != expected:
            raise ConfigError(
                f"model.target_grid {tuple(self.model.target_grid)} does not fit clips of "
                f"{self.clips.num_frames} frames of {self.clips.size} pixels at compression "
                f"{self.vqgan.factor}; expected {tuple(expected)}."
            )

    def _refuse_lengths(self) -> None:
        """Refuse videos too short for what is to be given, or learned, of them."""
        if self.generation.given_frames >= max(2, self.clips.num_frames):
            raise ConfigError(
                f"generation.given_frames ({self.generation.given_frames}) must be less than "
                f"clips.num_frames ({self.clips.num_frames}), or nothing is left to generate."
            )
        for section in ("training", "finetuning"):
            training: TrainingConfig = getattr(self, section)
            if training.excerpt_share and training.excerpt_frames > self.clips.num_frames:
                raise ConfigError(
                    f"{section}.excerpt_frames ({training.excerpt_frames}) is more than "
                    f"clips.num_frames ({self.clips.num_frames}): set it to 1 for still frames, or "
                    f"{section}.excerpt_share=0 to train whole videos."
                )
            if training.most_frames_given >= self.clips.num_frames:
                raise ConfigError(
                    f"{section}.given_frames ({training.given_frames}) must be less than "
                    f"clips.num_frames ({self.clips.num_frames}), or nothing is left to learn."
                )

    def _refuse_codebook(self, kind: str, prefix: str) -> None:
        """Refuse a model that reads other codebooks than the tokenizers have."""
        vqgan: VQGANConfig = getattr(self, kind)
        for field_name in ("codebook_size", "codebook_dim"):
            its, read = getattr(vqgan, field_name), getattr(self.model, f"{prefix}{field_name}")
            if its != read:
                raise ConfigError(
                    f"model.{prefix}{field_name} is {read} and {kind}.{field_name} {its}; expected "
                    "the same number in both."
                )

    @property
    def dataset_root(self) -> str:
        """Folder the source reads, or its uri."""
        return self.dataset.root or self.written_media

    @property
    def written_media(self) -> str:
        """Folder of what a data set writes here. A store elsewhere has one in the user's cache."""
        if storage.is_local(self.store):
            return storage.join(self.store, "media")
        name = self.store.split("://")[1].strip("/").replace("/", "-")
        return str(storage.cache_folder() / "media" / name)

    @property
    def report_root(self) -> str:
        """Folder of the report."""
        return self.report or storage.join(self.store, "report")


def config_tree(config: RunConfig) -> dict[str, Any]:
    """The resolved settings as plain JSON values, for manifests and reports."""
    tree: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return tree


def config_hash(*sections: object) -> str:
    """Eight hex digits that name a choice of settings; equal settings give equal names."""
    plain = [_plain(section) for section in sections]
    text = json.dumps(plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _plain(section: object) -> object:
    if dataclasses.is_dataclass(section) and not isinstance(section, type):
        return dataclasses.asdict(section)
    return section
