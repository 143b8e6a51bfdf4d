"""One step of a VQ-GAN, held against the same step in plain torch."""

import pytest
import torch
from torch import nn

from nuwa_model.tokenizers.vqgan import VQGAN
from nuwa_model.tokenizers.vqgan.losses import frame_loss
from pipelines.config import TokenizerTrainingConfig
from pipelines.training.schedule import ema_decay
from pipelines.training.vqgan_step import MOST_GRADIENT, VQGANStep
from tests.pipelines.drawn_clips import config_of

SHAPE = config_of("anywhere").vqgan


def step_of(**settings):
    settings = {"batch_size": 4, "adversarial_weight": 0.0, **settings}
    return VQGANStep(SHAPE, TokenizerTrainingConfig(**settings), precision="float32")


def pictures(seed=0):
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_deepspeed_and_plain_adam_take_the_same_first_step():
    work = step_of()
    start = nn.utils.parameters_to_vector(work.model.parameters()).clone()
    torch.manual_seed(0)
    plain = VQGAN(SHAPE)
    assert torch.equal(nn.utils.parameters_to_vector(plain.parameters()), start)
    work.take(pictures(), learning_rate=1e-3, is_adversarial=False)

    output = plain(pictures())
    (frame_loss(output.reconstruction, pictures()) + 0.25 * output.commitment).backward()
    trained = [p for p in plain.parameters() if p.requires_grad]
    nn.utils.clip_grad_norm_(trained, MOST_GRADIENT)
    torch.optim.Adam(trained, lr=1e-3, betas=(0.9, 0.99)).step()
    for (name, one), other in zip(work.model.named_parameters(), plain.parameters(), strict=True):
        if not name.startswith("quantize"):  # placed after the step
            torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-5, msg=name)


def test_the_average_follows_the_weights_and_is_what_is_published():
    work = step_of(ema_decay=0.5)
    expected = [p.detach().clone() for p in work.model.parameters()]
    for step in range(3):
        work.take(pictures(step), learning_rate=1e-3, is_adversarial=False)
        decay = ema_decay(step, 0.5)
        weights = list(work.model.parameters())
        expected = [decay * e + (1 - decay) * w for e, w in zip(expected, weights, strict=True)]
    last = [w.clone() for w in weights]
    with work.averaged() as model:
        torch.testing.assert_close(list(model.parameters()), expected)
    assert all(map(torch.equal, work.model.parameters(), last))


def test_a_codebook_with_gradients_moves_without_anything_else_to_move_it():
    work = step_of(codebook="gradient")
    losses = work.take(pictures(), learning_rate=1e-3, is_adversarial=False)
    placed = work.model.codebook.clone()
    losses = work.take(pictures(1), learning_rate=1e-3, is_adversarial=False)
    moved = (work.model.codebook - placed).abs().max(dim=1).values
    assert losses["codebook"] == pytest.approx(losses["commitment"] / 0.25, rel=1e-5)
    assert 0 < moved.max() < 2e-3, "a step of Adam's, and not a jump to the mean"


def test_the_discriminator_learns_in_its_own_turn_only():
    # Of a codebook with gradients nothing moves while the learning rate is zero.
    work = step_of(adversarial_weight=0.1, codebook="gradient")
    losses = work.take(pictures(), learning_rate=1e-3, is_adversarial=True)
    assert losses["discriminator"] == pytest.approx(1, abs=0.3), "nothing told apart yet"
    first = [work.take(pictures(), learning_rate=0.0, is_adversarial=True) for _ in range(2)]
    assert first[0]["discriminator"] == pytest.approx(first[1]["discriminator"], rel=1e-4)
    for _ in range(10):
        losses = work.take(pictures(), learning_rate=1e-3, is_adversarial=True)
    assert losses["discriminator"] < first[0]["discriminator"]
