"""The quantizer as physics: what is nearest, where gradients go, where the codebook moves."""

import pytest
import torch
from torch.nn import functional as F

from nuwa_model.tokenizers.vqgan.quantize import CodebookTrainer, VectorQuantizer, codebook_use


def quantizer(vectors):
    made = VectorQuantizer(*vectors.shape)
    made.embedding.weight.copy_(vectors)
    return made


def cells(*vectors):
    """Latents (1, e, 1, t) of these vectors."""
    return torch.tensor(vectors).T[None, :, None, :]


@pytest.fixture
def corners():
    return quantizer(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))


def test_each_latent_becomes_its_nearest_vector(corners):
    quantized = corners(cells([0.9, 0.2], [0.1, 0.7], [-5.0, -5.0]))
    assert quantized.tokens.tolist() == [[[1, 2, 0]]]
    torch.testing.assert_close(quantized.latents, cells([1.0, 0.0], [0.0, 1.0], [0.0, 0.0]))


def test_nearest_agrees_with_distances_computed_one_by_one():
    torch.manual_seed(0)
    made = quantizer(torch.randn(50, 8))
    latents = torch.randn(3, 8, 5, 4)
    distances = (latents[:, None] - made.embedding.weight[None, :, :, None, None]).norm(dim=2)
    assert torch.equal(made.nearest(latents), distances.argmin(dim=1))


def test_the_gradient_goes_straight_through(corners):
    latents = cells([0.9, 0.2], [0.1, 0.7]).requires_grad_()
    slope = torch.tensor([[[[3.0, -1.0]], [[2.0, 5.0]]]])
    (corners(latents).latents * slope).sum().backward()
    assert torch.equal(latents.grad, slope)


def test_commitment_pulls_latents_to_their_vectors_and_leaves_the_codebook(corners):
    latents = cells([0.9, 0.2]).requires_grad_()
    quantized = corners(latents)
    assert quantized.commitment.item() == pytest.approx((0.1**2 + 0.2**2) / 2)
    quantized.commitment.backward()
    torch.testing.assert_close(latents.grad, cells([-0.1, 0.2]))
    assert corners.embedding.weight.grad is None


def test_quantizing_is_in_float32_inside_autocast(corners):
    with torch.autocast("cpu", torch.bfloat16):
        assert corners(cells([0.9, 0.2]).bfloat16()).latents.dtype == torch.float32


def test_first_vectors_are_latents_of_the_first_batch():
    made = VectorQuantizer(16, 4)
    latents = torch.randn(2, 4, 3, 3)
    CodebookTrainer(made, seed=0).update(latents, made.nearest(latents))
    known = latents.permute(0, 2, 3, 1).reshape(-1, 4)
    assert all((row == known).all(dim=1).any() for row in made.embedding.weight)


def test_a_vector_becomes_the_weighted_mean_of_the_latents_that_chose_it():
    made = VectorQuantizer(1, 1)
    trainer = CodebookTrainer(made, seed=0, decay=0.9)
    batches = [cells([float(i)], [float(i + 2)]) for i in range(5)]
    for batch in batches:
        trainer.update(batch, torch.zeros(1, 1, 2, dtype=torch.int64))
    # Closed form: the vector starts at a latent of the first batch, with the weight of one.
    counts, sums = 1.0, first_place(batches[0])
    for n, batch in enumerate(batches[1:], start=1):
        decay = min(0.9, (1 + n) / (10 + n))
        counts = decay * counts + (1 - decay) * 2
        sums = decay * sums + (1 - decay) * batch.sum().item()
    assert made.embedding.weight.item() == pytest.approx(sums / counts)


def first_place(batch):
    made = VectorQuantizer(1, 1)
    CodebookTrainer(made, seed=0).update(batch, torch.zeros(1, 1, 2, dtype=torch.int64))
    return made.embedding.weight.item()


def test_a_dead_vector_starts_again_where_the_codebook_fits_worst(corners):
    trainer = CodebookTrainer(corners, seed=0, patience=3)
    trainer.num_updates = 1  # placed already
    latents = cells(*[[0.0, 0.0]] * 8, [1.0, 0.0], [0.0, 1.0], [9.0, 9.0])
    for _ in range(8):
        trainer.update(latents, tokens := corners.nearest(latents))
    assert tokens.unique().numel() == 4
    assert (corners.embedding.weight == torch.tensor([9.0, 9.0])).all(dim=1).any()


def test_a_vector_that_started_again_is_not_pulled_back_to_where_it_died(corners):
    trainer = CodebookTrainer(corners, seed=0, decay=0.99, patience=1)
    trainer.num_updates = 1
    trainer.counts += 1000.0  # a long life before
    trainer.sums += corners.embedding.weight * 1000
    latents = cells([0.0, 0.0], [9.0, 9.0])
    trainer.update(latents, torch.zeros(1, 1, 2, dtype=torch.int64))
    revived = (corners.embedding.weight == 9).all(dim=1).nonzero()[:, 0]
    trainer.update(latents, torch.stack([torch.tensor([[0, int(revived[0])]])]))
    torch.testing.assert_close(
        corners.embedding.weight[revived[0]], torch.tensor([9.0, 9.0]), rtol=1e-6, atol=0
    )


def test_a_resumed_trainer_goes_on_exactly():
    batches = [torch.randn(1, 4, 3, 3) * (1 + step) for step in range(12)]

    def run(interrupt):
        made = VectorQuantizer(8, 4)
        trainer = CodebookTrainer(made, seed=3, patience=2)
        for step, latents in enumerate(batches):
            trainer.update(latents, made.nearest(latents))
            if step == interrupt:
                state, vectors = trainer.state_dict(), made.embedding.weight.clone()
                made = quantizer(vectors)
                trainer = CodebookTrainer(made, seed=99, patience=2)
                trainer.load_state_dict(state)
        return made.embedding.weight

    assert torch.equal(run(interrupt=5), run(interrupt=None))


def test_use_counts_living_vectors_and_perplexity():
    assert codebook_use(torch.tensor([5, 5, 5, 5])) == (4, pytest.approx(4))
    assert codebook_use(torch.tensor([9, 0, 0, 0])) == (1, pytest.approx(1))


def test_a_worth_of_a_nat_makes_latents_that_differ_little_share_a_token():
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn(1, 2, 30, 30, generator=generator) * 0.1
    plain[0, :, :2] += 5.0  # few, but far away

    def train(rate_weight):
        made = VectorQuantizer(32, 2).train()
        trainer = CodebookTrainer(made, seed=0, rate_weight=rate_weight)
        for _ in range(60):
            trainer.update(plain, made(plain).tokens)
        return made.eval()(plain)

    nearest, constrained = train(0.0), train(2.0)
    perplexity = [
        codebook_use(torch.bincount(q.tokens.flatten(), minlength=32)).perplexity
        for q in (nearest, constrained)
    ]
    assert perplexity[1] < 0.85 * perplexity[0]
    far = constrained.latents[0, :, :2] - plain[0, :, :2]
    assert far.norm(dim=0).max() < 2, "what is far still has vectors of its own"


def test_a_handicap_counts_as_squared_distance(corners):
    latents = cells([0.9, 0.2])
    assert corners(latents).tokens.item() == 1
    corners.handicap.copy_(torch.tensor([0.0, 9.0, 9.0, 9.0]))
    assert corners(latents).tokens.item() == 0


def test_a_codebook_with_gradients_is_drawn_to_its_latents_and_leaves_them(corners):
    corners.embedding.requires_grad_(True)
    latents = cells([0.9, 0.2], [1.0, 0.4]).requires_grad_()
    quantized = corners(latents)
    quantized.codebook.backward()
    # Mean over two latents of two numbers: the slope is half the mean of what is missing.
    expected = torch.zeros(4, 2)
    expected[1] = torch.tensor([1.0 - 0.95, 0.0 - 0.3])
    torch.testing.assert_close(corners.embedding.weight.grad, expected)
    assert latents.grad is None
    corners.embedding.weight.grad = None
    quantized.commitment.backward()
    assert corners.embedding.weight.grad is None


def test_a_codebook_with_gradients_is_moved_by_nobody_else_once_it_is_placed():
    made = VectorQuantizer(8, 4)
    made.embedding.requires_grad_(True)
    trainer = CodebookTrainer(made, seed=0, patience=100)
    trainer.update(latents := torch.randn(1, 4, 5, 5), made.nearest(latents))
    placed = made.embedding.weight.clone()
    trainer.update(latents := torch.randn(1, 4, 5, 5), made.nearest(latents))
    assert torch.equal(made.embedding.weight, placed)
    assert trainer.counts.sum() > 0


@pytest.fixture
def cosine():
    torch.manual_seed(0)
    return VectorQuantizer(32, 6, is_cosine=True)


def test_cosine_takes_the_vector_of_the_most_similar_direction(cosine):
    latents = torch.randn(2, 6, 4, 4) * 5
    similarity = F.cosine_similarity(
        latents[:, None], cosine.embedding.weight[None, :, :, None, None], dim=2
    )
    found = cosine.nearest(cosine.normalized(latents))
    assert torch.equal(found, similarity.argmax(dim=1))


def test_vectors_of_a_cosine_codebook_keep_length_one_while_they_learn(cosine):
    trainer = CodebookTrainer(cosine, seed=0, patience=2)
    for scale in (1.0, 10.0, 0.1, 1.0):
        latents = cosine.normalized(torch.randn(2, 6, 4, 4) * scale)
        trainer.update(latents, cosine.nearest(latents))
        lengths = cosine.embedding.weight.norm(dim=1)
        torch.testing.assert_close(lengths, torch.ones(32))
