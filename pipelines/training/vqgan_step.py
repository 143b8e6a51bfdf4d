"""One optimizer step of a VQ-GAN, on every rank at once, and all state that it changes."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.nn.utils import parameters_to_vector

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
from nuwa_model.tokenizers.vqgan.quantize import CodebookTrainer
from pipelines.config import TokenizerTrainingConfig
from pipelines.training.engine import Precision

_BETAS = (0.9, 0.99)
MOST_GRADIENT = 1.0
"""Largest norm of a gradient: the first steps of a fresh codebook throw some large ones."""
_MOST_DISCRIMINATOR_WIDTH = 64  # as published


class VQGANStep:
    """A VQ-GAN in training: weights, codebook, discriminator and optimizers.

    Ranks hold equal weights, work on different pictures and average their gradients, so up to
    rounding the result depends on the global batch only. (The weight of the adversarial loss is
    each rank's own, as published.)

    Args:
        vqgan: Shape of the model; with classes for channels it is trained by cross-entropy alone.
        training: How to train.
        device: Where to compute.
        precision: Of the matrix products; weights and losses stay in float32.
    """

    def __init__(
        self,
        vqgan: VQGANConfig,
        training: TokenizerTrainingConfig,
        *,
        device: torch.device,
        precision: Precision,
    ) -> None:
        torch.manual_seed(training.seed)
        self.model = VQGAN(vqgan).to(device)
        self._training, self._precision, self._device = training, precision, device
        self._codebook = CodebookTrainer(
            self.model.quantize, seed=training.seed, rate_weight=training.rate_weight
        )
        self._optimizer = _adam(self.model)
        self._lpips: LPIPS | None = None
        if training.vgg16 and not self.model.is_for_sketches:
            self._lpips = LPIPS.load(training.vgg16, training.lpips).to(device)
        self._critic: nn.Module | None = None
        if training.adversarial_weight > 0 and not self.model.is_for_sketches:
            width = min(_MOST_DISCRIMINATOR_WIDTH, 2 * vqgan.width)
            self._critic = Discriminator(vqgan.channels, width=width).to(device)
            self._critic_optimizer = _adam(self._critic)

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
        with self._autocast():
            output: VQGANOutput = self.model(images)
        losses = self._reconstruction_losses(output, images)
        is_adversarial = is_adversarial and self._critic is not None
        if is_adversarial:
            losses |= self._adversarial_losses(output, images, losses)
        loss = torch.stack(list(losses.values())).sum()
        _descend(self._optimizer, loss, learning_rate)
        self._codebook.update(output.latents, output.tokens)
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
        with self._autocast():
            real, _ = self._critic(images)
            fake, _ = self._critic(output.reconstruction.detach())
        loss = discriminator_loss(real, fake)
        _descend(self._critic_optimizer, loss, learning_rate)
        return loss

    def _autocast(self) -> torch.autocast:
        is_low = self._precision == "bfloat16"
        return torch.autocast(self._device.type, torch.bfloat16, enabled=is_low)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        state = {
            "model": self.model.state_dict(),
            "codebook": self._codebook.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        if self._critic is not None:
            state["critic"] = self._critic.state_dict()
            state["critic_optimizer"] = self._critic_optimizer.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state of equal settings."""
        self.model.load_state_dict(state["model"])
        self._codebook.load_state_dict(state["codebook"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._critic is not None:
            self._critic.load_state_dict(state["critic"])
            self._critic_optimizer.load_state_dict(state["critic_optimizer"])


def _adam(module: nn.Module) -> torch.optim.Adam:
    parameters = [p for p in module.parameters() if p.requires_grad]
    return torch.optim.Adam(parameters, betas=_BETAS)


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor, learning_rate: float) -> None:
    # Zeroed here, because the decoder's loss also left gradients on the discriminator.
    optimizer.zero_grad()
    loss.backward()
    group = optimizer.param_groups[0]
    group["lr"] = learning_rate
    _average_gradients(group["params"])
    nn.utils.clip_grad_norm_(group["params"], MOST_GRADIENT)
    optimizer.step()


def _average(losses: list[Tensor]) -> list[float]:
    flat = torch.stack([loss.detach().float() for loss in losses])
    if distributed.is_initialized() and distributed.get_world_size() > 1:
        distributed.all_reduce(flat)
        flat /= distributed.get_world_size()
    return flat.tolist()


def _average_gradients(parameters: list[nn.Parameter]) -> None:
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = parameters_to_vector(gradients)
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    parts = flat.split([g.numel() for g in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))
