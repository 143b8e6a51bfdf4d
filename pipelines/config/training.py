"""Settings of everything that is trained."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from nuwa_model.errors import ConfigError, RangeError, refuse_outside
from nuwa_model.tasks import Task, get_task
from pipelines.config.ranges import ANY, SHARE, SOME


@dataclass(frozen=True, kw_only=True)
class TokenizerTrainingConfig:
    """How a VQ-GAN is trained.

    Args:
        steps: Optimizer steps.
        batch_size: Pictures a step over all ranks.
        learning_rate: Of Adam, after warm-up.
        adversarial_start: Step at which the discriminator joins.
        adversarial_weight: Weight of its loss before the adaptive factor; 0 leaves it out.
        perceptual_weight: Weight of the perceptual loss: of feature matching, which needs the
            discriminator, or of LPIPS, where the two files are given.
        vgg16: File of torchvision's VGG16 of ImageNet, on every machine; empty for none.
        lpips: File of the LPIPS layers for it (``vgg.pth``).
        squared_weight: Weight of the squared difference beside the absolute one.
        commitment_weight: Beta of the quantizer's loss.
        rate_weight: What a nat of a token's code length is worth, in mean squared errors of the
            quantizer: more gives fewer, more predictable tokens; 0 always takes the nearest one.
        codebook: How its vectors learn: ``mean`` follows the running mean of their latents,
            ``gradient`` takes the gradient of their squared distance.
        ema_decay: Of the averaged weights, which the artifact then has; 0 keeps no average.
        log_every: Steps between log lines.
        checkpoint_every: Steps between checkpoints.
        num_workers: Training processes (ranks); 0 is as many as there are GPUs, or processors where
            there is none, and as divide the batch.
        seed: Of initialization and order.
    """

    steps: int = 40
    batch_size: int = 16
    learning_rate: float = 1e-3
    adversarial_start: int = 30
    adversarial_weight: float = 0.1
    perceptual_weight: float = 0.1
    vgg16: str = ""
    lpips: str = ""
    squared_weight: float = 0.0
    commitment_weight: float = 0.25
    rate_weight: float = 0.0
    codebook: Literal["mean", "gradient"] = "mean"
    ema_decay: float = 0.0
    log_every: int = 10
    checkpoint_every: int = 200
    num_workers: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings with which nothing could be trained."""
        refuse_outside(
            self,
            steps=SOME,
            batch_size=SOME,
            learning_rate=ANY,
            adversarial_start=ANY,
            adversarial_weight=ANY,
            perceptual_weight=ANY,
            squared_weight=ANY,
            commitment_weight=ANY,
            rate_weight=ANY,
            ema_decay=SHARE,
            log_every=SOME,
            checkpoint_every=SOME,
            num_workers=ANY,
        )
        if bool(self.vgg16) != bool(self.lpips):
            raise ConfigError(
                f"LPIPS needs two files, but vgg16 is {self.vgg16!r} and lpips {self.lpips!r}: "
                "name both, or neither to compare the discriminator's features."
            )
        if self.batch_size % max(1, self.num_workers):
            raise RangeError(self, "batch_size", f"a multiple of num_workers ({self.num_workers})")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the transformer is trained.

    Args:
        steps: Optimizer steps.
        batch_size: Examples a step over all ranks; videos, where a step trains videos.
        images_per_video: A step that trains images reads this many times more examples. An image
            has as many tokens as one frame, and as much to learn from a text as a whole video.
        excerpt_share: Share of the steps on videos that read excerpts, consecutive frames from
            anywhere in a clip, of as many times more clips: neighboring frames of many clips teach
            motion sooner than all frames of few. With ``given_frames``, V2V and TV2V read none:
            what they have to learn is to go on like those frames to the end.
        excerpt_frames: Frames of an excerpt.
        opening_share: Share of the excerpts, and of the images that are frames of videos, that are
            taken where their clip begins; the others are taken anywhere. Generation draws that
            frame from nothing; if all frames were read alike, it would be learned last.
        tasks: Weight of each task in the mixture; a step draws one task.
        given_frames: First frames of V2V and TV2V that are given, as when they are sampled, so that
            nothing is learned of them; 0 learns videos from their first token on.
        learning_rate: Peak of Adam's learning rate.
        warmup_fraction: Share of the steps that warm up.
        final_fraction: Learning rate at the end, as a fraction of the peak.
        weight_decay: Of AdamW.
        betas: Of AdamW.
        gradient_clipping: Largest norm of the gradient.
        text_dropout: Share of examples whose condition becomes ``None``, for guidance.
        ema_decay: Of the averaged weights.
        zero_stage: DeepSpeed ZeRO stage.
        num_workers: Training processes (ranks); 0 is as many as there are GPUs, or processors where
            there is none, and as divide the batch.
        gradient_accumulation: Micro-batches a step.
        activation_checkpointing: Compute each layer again in the backward pass and keep only what
            it reads: a fraction of the memory, a quarter more arithmetic, the same weights.
        checkpoint_every: Steps between checkpoints.
        keep_checkpoints: Newest checkpoints kept, beside the one of the best validation.
        patience: Validations in a row, one a checkpoint, none of them better than the best before,
            after which training stops early; 0 never does.
        export: Whether the ``last`` checkpoint becomes the export, or the ``best``, that of the
            lowest validation loss.
        log_every: Steps between log lines.
        seed: Of initialization, order and dropout.
    """

    steps: int = 20
    batch_size: int = 8
    images_per_video: int = 1
    excerpt_share: float = 0.0
    excerpt_frames: int = 2
    opening_share: float = 0.5
    tasks: Mapping[str, float] = field(default_factory=lambda: {"T2I": 0.2, "T2V": 0.6, "V2V": 0.2})
    given_frames: int = 0
    learning_rate: float = 1e-3
    warmup_fraction: float = 0.05
    final_fraction: float = 0.05
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.95)
    gradient_clipping: float = 1.0
    text_dropout: float = 0.1
    ema_decay: float = 0.99
    zero_stage: Literal[0, 1, 2, 3] = 1
    num_workers: int = 1
    gradient_accumulation: int = 1
    activation_checkpointing: bool = False
    checkpoint_every: int = 50
    keep_checkpoints: int = 2
    patience: int = 0
    export: Literal["last", "best"] = "last"
    log_every: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse contradictions here, so that no module has to."""
        refuse_outside(
            self,
            steps=ANY,
            batch_size=SOME,
            images_per_video=SOME,
            excerpt_share=SHARE,
            excerpt_frames=SOME,
            opening_share=SHARE,
            given_frames=ANY,
            learning_rate=ANY,
            warmup_fraction=SHARE,
            final_fraction=SHARE,
            weight_decay=ANY,
            gradient_clipping=ANY,
            text_dropout=SHARE,
            ema_decay=SHARE,
            num_workers=ANY,
            gradient_accumulation=SOME,
            checkpoint_every=SOME,
            keep_checkpoints=SOME,
            patience=ANY,
            log_every=SOME,
        )
        for name in self.tasks:
            get_task(name)
        weights = self.tasks.values()
        if not all(0 <= weight < math.inf for weight in weights) or not sum(weights):
            raise ConfigError(
                "tasks must give at least one task a positive weight, e.g. {T2V: 1.0}."
            )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise RangeError(self, "betas", "two numbers of at least 0 and below 1")
        ranks = max(1, self.num_workers) * self.gradient_accumulation
        if self.batch_size % ranks:
            raise ConfigError(
                f"batch_size ({self.batch_size}) must be a multiple of num_workers times "
                f"gradient_accumulation ({ranks})."
            )

    def frames_given(self, task: Task) -> int:
        """First frames of a target that a task of the mixture is given."""
        return self.given_frames if task.given == "first_frames" else 0

    @property
    def most_frames_given(self) -> int:
        """The same of the task in the mixture that is given most."""
        tasks = [get_task(name) for name, weight in self.tasks.items() if weight > 0]
        return max(map(self.frames_given, tasks))
