import pytest
import torch

from nuwa_model.errors import ConfigError
from nuwa_model.generation import Request, Sampling, generate
from nuwa_model.generation.candidates import fit, generate_best
from nuwa_model.grid import Extent, Grid
from tests.nuwa_model.tiny_model import make_context, make_model

GRID = Grid(2, 2, 3)


@pytest.fixture
def model():
    return make_model(GRID, Extent(3, 3, 3))


@pytest.fixture
def condition(model):
    return make_context(model, is_sketch=False)


@pytest.fixture
def empty(model):
    return make_context(model, is_sketch=False, seed=2)


def ask(**words):
    return Request(target_grid=GRID, sampling=Sampling(temperature=40, seed=3), **words)


def brightness(tokens, is_given, condition, empty):
    return tokens.flatten(1).sum(dim=1)


@pytest.mark.parametrize("num_candidates", [1, 5, 70])  # the last one takes three rounds
def test_the_best_of_all_candidates_is_kept(model, condition, empty, num_candidates):
    best = generate_best(
        model, condition, ask(), num_candidates=num_candidates, empty=empty, scorer=brightness
    ).tokens
    every = generate(
        model, condition, target_grid=GRID, num_samples=num_candidates, temperature=40, seed=3
    ).tokens
    sums = every.flatten(1).sum(dim=1).reshape(2, num_candidates)
    assert torch.equal(brightness(best, None, None, None), sums.max(dim=1).values)


def test_candidates_of_a_sample_do_not_depend_on_its_batch(model, condition, empty):
    both = generate_best(model, condition, ask(), num_candidates=4, empty=empty).tokens
    second = slice(1, 2)
    alone = generate_best(
        model,
        condition.rows(second),
        ask(sample_ids=torch.tensor([1])),
        num_candidates=4,
        empty=empty.rows(second),
    ).tokens
    assert torch.equal(alone[0], both[1])


def test_given_tokens_are_in_every_candidate(model, condition, empty):
    known = torch.full((2, *GRID), -1)
    known[:, 0] = 9
    best = generate_best(model, condition, ask(known=known), num_candidates=3, empty=empty).tokens
    assert (best[:, 0] == 9).all()


@pytest.mark.parametrize(("num_candidates", "has_empty"), [(0, True), (2, False)])
def test_candidates_that_cannot_be_ranked_are_refused(
    model, condition, empty, num_candidates, has_empty
):
    with pytest.raises(ConfigError, match=f"{num_candidates} candidates"):
        generate_best(
            model,
            condition,
            ask(),
            num_candidates=num_candidates,
            empty=empty if has_empty else None,
        )


def log_likelihood(model, tokens, context):
    with torch.no_grad():
        logits = model.decoder(tokens, context).log_softmax(dim=-1)
    return logits.gather(-1, tokens[..., None]).squeeze(-1)


def test_drawn_tokens_count_by_how_much_likelier_the_text_makes_them(model, condition, empty):
    tokens = torch.randint(64, (2, *GRID), generator=torch.Generator().manual_seed(4))
    drawn = torch.zeros_like(tokens).bool()
    told, untold = (log_likelihood(model, tokens, context) for context in (condition, empty))
    expected = (told - untold).flatten(1).sum(dim=1)
    torch.testing.assert_close(fit(model, tokens, drawn, condition, empty), expected)
    assert fit(model, tokens, drawn, condition, condition).tolist() == [0, 0]


def test_given_tokens_count_by_how_likely_the_drawn_ones_make_them(model, condition):
    tokens = torch.randint(64, (2, *GRID), generator=torch.Generator().manual_seed(4))
    is_given = torch.rand(tokens.shape, generator=torch.Generator().manual_seed(5)) < 0.5
    told = (log_likelihood(model, tokens, condition) * is_given).flatten(1).sum(dim=1)
    torch.testing.assert_close(fit(model, tokens, is_given, condition, condition), told)
