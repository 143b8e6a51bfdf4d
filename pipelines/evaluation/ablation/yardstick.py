"""What all variants are measured by: one extractor, one set of held-out pictures."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from nuwa_model.metrics.frechet import frechet_distance
from nuwa_model.tokenizers.vqgan import VQGAN
from nuwa_model.tokenizers.vqgan.quantize import codebook_use
from pipelines.config import RunConfig
from pipelines.errors import StoreError
from pipelines.evaluation.ablation.variants import SHRINK
from pipelines.evaluation.distances import TRAINING_CLIPS
from pipelines.evaluation.features import LEAST_FRAMES, FeatureExtractor, train_extractor
from pipelines.evaluation.material import Material
from pipelines.loading.pictures import Pictures, average_down
from pipelines.training.vqgan_quality import MOST_MEASURED, evenly, fidelity, reconstruct


@dataclass(frozen=True)
class Measured:
    """One trained model on the yardstick's pictures.

    Attributes:
        frechet: Fréchet distance of reconstructions from originals.
        ssim: Structural similarity to the originals.
        psnr: In dB.
        codes_alive: Tokens that occur.
        parameters: Weights of the model.
        decoded: The reconstructions, at the size of the originals.
    """

    frechet: float
    ssim: float
    psnr: float
    codes_alive: int
    parameters: int
    decoded: UInt8[np.ndarray, "b h w 3"]


@dataclass(frozen=True)
class Yardstick:
    """Pictures, and the network whose features they are compared by.

    Attributes:
        extractor: Trained here, once for all variants and seeds.
        split: Where the pictures come from: ``validation``, or ``train`` if nothing is held out.
        pictures: As large as the clips.
    """

    extractor: FeatureExtractor
    split: str
    pictures: UInt8[np.ndarray, "b H W 3"]

    @classmethod
    def make(cls, config: RunConfig, *, clips_version: int) -> "Yardstick":
        """Read the pictures and train the extractor, in seconds.

        Raises:
            StoreError: There are too few pictures, or a shard is damaged.
            ConfigError: The extractor has too little to learn from, or clips have another size.
        """
        for split in ("validation", "train"):
            pictures = Pictures.load(
                config.store, "frames", split, size=config.clips.size, version=clips_version
            )
            if len(pictures):
                break
        count = min(len(pictures), MOST_MEASURED)
        if count < LEAST_FRAMES:
            raise StoreError(
                f"{config.store} has {count} pictures of split {split} to measure on, but a "
                f"Fréchet distance needs {LEAST_FRAMES}: hold out more with "
                "dataset.validation_fraction (0 measures on train) or give the data set more "
                "sources, and run prepare-data."
            )
        clips = Material(config=config, clips={}).training_clips(TRAINING_CLIPS)
        extractor = train_extractor(clips)
        return cls(extractor, split, pictures.at(evenly(len(pictures), count)))

    @property
    def metric(self) -> str:
        """The distance by its full name, which tells the network."""
        return f"FID[{self.extractor.name}]"

    @cached_property
    def originals(self) -> UInt8[np.ndarray, "b h w 3"]:
        """The pictures at the size at which variants are measured."""
        return average_down(self.pictures, SHRINK)

    @cached_property
    def features(self) -> Float[Tensor, "b features"]:
        """Of the originals."""
        return self.extractor(self.originals)

    @cached_property
    def floor(self) -> float:
        """The distance of two halves of the originals, which differ by nothing but chance."""
        return float(frechet_distance(self.features[::2], self.features[1::2]))

    def measure(self, model: VQGAN, *, shrink: int) -> Measured:
        """Measure a model that was trained on clips averaged down by so much."""
        model = model.to("cuda" if torch.cuda.is_available() else "cpu")
        decoded, counts = reconstruct(model, average_down(self.pictures, shrink))
        small = average_down(decoded.numpy(), SHRINK // shrink)
        return Measured(
            frechet=float(frechet_distance(self.features, self.extractor(small))),
            **fidelity(torch.from_numpy(small), torch.from_numpy(self.originals)),
            codes_alive=codebook_use(counts).alive,
            parameters=sum(weight.numel() for weight in model.parameters()),
            decoded=small,
        )
