"""One optimizer step of a VQ-GAN, on every rank at once, and all state that it changes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn

from nuwa_model.config import VQGANConfig
from nuwa_model.tokenizers.vqgan import VQGAN, VQGANOutput
from nuwa_model.tokenizers.vqgan.discriminator import Discriminator
from nuwa_model.tokenizers.vqgan.losses import (
    adaptive_weight,
    discriminator_loss,
    feature_loss,
    frame_loss,
    generator_loss,
    sketch_loss,
)
from nuwa_model.tokenizers.vqgan.perceptual import LPIPS
from nuwa_model.tokenizers.vqgan.quantize import CodebookTrainer, CodebookUse
from pipelines.config import TokenizerTrainingConfig
from pipelines.training.ema import AveragedWeights
from pipelines.training.engine import Precision, initialize, take_step
from pipelines.training.schedule import ema_decay

_BETAS = [0.9, 0.99]
MOST_GRADIENT = 1.0
"""Largest norm of a gradient: the first steps of a fresh codebook throw some large ones."""
_MOST_DISCRIMINATOR_WIDTH = 64  # as published


class VQGANStep:
    """A VQ-GAN in training: weights, codebook, discriminator and their two DeepSpeed engines.

    Ranks hold equal weights (ZeRO stage 0: the largest VQ-GAN has some 70 M, nothing to
    partition), work on different pictures and average their gradients, so up to rounding the
    result depends on the global batch only. (The weight of the adversarial loss is each rank's own,
    as published.)

    Args:
        vqgan: Shape of the model; with classes for channels it is trained by cross-entropy alone.
        training: How to train; ``num_workers`` is the number of ranks.
        precision: Of the matrix products; weights and losses stay in float32.

    Raises:
        TrainingError: There are not as many ranks as the settings say.
    """

    def __init__(
        self,
        vqgan: VQGANConfig,
        training: TokenizerTrainingConfig,
        *,
        precision: Precision,
    ) -> None:
        torch.manual_seed(training.seed)
        self.model = VQGAN(vqgan)
        self.model.quantize.embedding.requires_grad_(training.codebook == "gradient")
        self._training, self._precision = training, precision
        self._engine = _start(self.model, training)
        self._device: torch.device = self._engine.device
        self._codebook = CodebookTrainer(
            self.model.quantize, seed=training.seed, rate_weight=training.rate_weight
        )
        self._average = AveragedWeights(self.model) if training.ema_decay else None
        self._lpips: LPIPS | None = None
        if training.vgg16 and not self.model.is_for_sketches:
            self._lpips = LPIPS.load(training.vgg16, training.lpips).to(self._device)
        self._critic: nn.Module | None = None
        if training.adversarial_weight > 0 and not self.model.is_for_sketches:
            width = min(_MOST_DISCRIMINATOR_WIDTH, 2 * vqgan.width)
            self._critic = Discriminator(vqgan.channels, width=width)
            self._critic_engine = _start(self._critic, training)

    @property
    def codebook_use(self) -> CodebookUse:
        """Of the last steps, on all ranks."""
        return self._codebook.use

    def take(
        self, images: Float[Tensor, "b c H W"], *, learning_rate: float, is_adversarial: bool
    ) -> dict[str, float]:
        """Update everything once with this rank's pictures.

        Args:
            images: On any device.
            learning_rate: Of this step.
            is_adversarial: Whether the discriminator takes part.

        Returns:
            The losses by name, averaged over ranks; ``loss`` is the one that was minimized.
        """
        images = images.to(self._device)
        if images.device.type == "cpu":  # convolutions want channels innermost there
            images = images.contiguous(memory_format=torch.channels_last)
        with self._autocast():
            output: VQGANOutput = self.model(images)
        losses = self._reconstruction_losses(output, images)
        is_adversarial = is_adversarial and self._critic is not None
        if is_adversarial:
            losses |= self._adversarial_losses(output, images, losses)
        loss = torch.stack(list(losses.values())).sum()
        self._engine.backward(loss)
        take_step(self._engine, learning_rate)
        step = self._codebook.num_updates
        self._codebook.update(output.latents, output.tokens)
        if self._average is not None:
            self._average.update(ema_decay(step, self._training.ema_decay))
        told = {"loss": loss, **losses}
        if is_adversarial:
            told["discriminator"] = self._teach_critic(output, images, learning_rate)
        return dict(zip(told, _average(list(told.values())), strict=True))

    def _reconstruction_losses(
        self, output: VQGANOutput, images: Float[Tensor, "b c H W"]
    ) -> dict[str, Tensor]:
        losses = {
            "reconstruction": self._reconstruction_loss(output.reconstruction, images),
            "commitment": self._training.commitment_weight * output.commitment,
        }
        if self._training.codebook == "gradient":
            losses["codebook"] = output.codebook
        if self._lpips is not None:
            with self._autocast():
                distance = self._lpips(output.reconstruction, images)
            losses["perceptual"] = self._training.perceptual_weight * distance
        return losses

    def _reconstruction_loss(
        self, reconstruction: Float[Tensor, "b c H W"], images: Float[Tensor, "b c H W"]
    ) -> Tensor:
        if self.model.is_for_sketches:
            return sketch_loss(reconstruction, images)
        return frame_loss(reconstruction, images, squared_weight=self._training.squared_weight)

    def _adversarial_losses(
        self, output: VQGANOutput, images: Float[Tensor, "b c H W"], losses: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        assert self._critic is not None
        self._critic.requires_grad_(False)  # judges here, and learns in its own turn
        with self._autocast():
            scores, features = self._critic(output.reconstruction)
            with torch.no_grad():
                _, wanted = self._critic(images)
        perceptual = losses.get("perceptual")
        if perceptual is None:
            perceptual = self._training.perceptual_weight * feature_loss(features, wanted)
        adversarial = generator_loss(scores)
        pull = losses["reconstruction"] + perceptual
        weight = adaptive_weight(pull, adversarial, self.model.decoder.conv_out.weight)
        weight = weight * self._training.adversarial_weight
        return {"perceptual": perceptual, "adversarial": weight * adversarial}

    def _teach_critic(
        self, output: VQGANOutput, images: Float[Tensor, "b c H W"], learning_rate: float
    ) -> Tensor:
        assert self._critic is not None
        self._critic.requires_grad_(True)
        with self._autocast():
            real, _ = self._critic(images)
            fake, _ = self._critic(output.reconstruction.detach())
        loss = discriminator_loss(real, fake)
        self._critic_engine.backward(loss)
        take_step(self._critic_engine, learning_rate)
        return loss

    def _autocast(self) -> torch.autocast:
        is_low = self._precision == "bfloat16"
        return torch.autocast(self._device.type, torch.bfloat16, enabled=is_low)

    @contextmanager
    def averaged(self) -> Iterator[VQGAN]:
        """The model as it is published: with the averaged weights, if there are some."""
        if self._average is None:
            yield self.model
            return
        with self._average.applied():
            yield self.model

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        state = {
            "model": self.model.state_dict(),
            "codebook": self._codebook.state_dict(),
            "optimizer": self._engine.optimizer.state_dict(),
        }
        if self._average is not None:
            state["average"] = self._average.state()
        if self._critic is not None:
            state["critic"] = self._critic.state_dict()
            state["critic_optimizer"] = self._critic_engine.optimizer.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state of equal settings."""
        self.model.load_state_dict(state["model"])
        self._codebook.load_state_dict(state["codebook"])
        self._engine.optimizer.load_state_dict(state["optimizer"])
        if self._average is not None:
            self._average.restore(state["average"])
        if self._critic is not None:
            self._critic.load_state_dict(state["critic"])
            self._critic_engine.optimizer.load_state_dict(state["critic_optimizer"])


def deepspeed_config(training: TokenizerTrainingConfig) -> dict[str, Any]:
    """DeepSpeed's settings for either network; a pure function.

    Numbers of low precision are this module's affair: the loss asks both networks in turn.
    """
    return {
        "train_batch_size": training.batch_size,
        "train_micro_batch_size_per_gpu": training.batch_size // training.num_workers,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": MOST_GRADIENT,
        "optimizer": {
            "type": "Adam",
            "params": {
                "lr": training.learning_rate,
                "betas": _BETAS,
                "adam_w_mode": False,
                "torch_adam": True,  # the others are compiled at run time
                "fused": True,
            },
        },
        "zero_optimization": {"stage": 0},
        "steps_per_print": 2**31,
    }


def _start(model: nn.Module, training: TokenizerTrainingConfig) -> Any:
    parameters = [p for p in model.parameters() if p.requires_grad]
    config = deepspeed_config(training)
    return initialize(model, parameters, config, num_workers=training.num_workers)


def _average(losses: list[Tensor]) -> list[float]:
    flat = torch.stack([loss.detach().float() for loss in losses])
    if distributed.is_initialized() and distributed.get_world_size() > 1:
        distributed.all_reduce(flat)
        flat /= distributed.get_world_size()
    return flat.tolist()
