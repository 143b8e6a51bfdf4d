import pytest
import torch

from nuwa_model.generation import generate
from nuwa_model.generation.candidates import generate_best, text_fit
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


def brightness(tokens, condition, empty):
    return tokens.flatten(1).sum(dim=1)


@pytest.mark.parametrize("num_candidates", [1, 5, 70])  # the last one takes three rounds
def test_the_best_of_all_candidates_is_kept(model, condition, empty, num_candidates):
    settings = {"target_grid": GRID, "temperature": 40, "seed": 3}
    best = generate_best(
        model,
        condition,
        empty=empty,
        num_candidates=num_candidates,
        scorer=brightness,
        **settings,
    ).tokens
    every = generate(model, condition, num_samples=num_candidates, **settings).tokens
    sums = every.flatten(1).sum(dim=1).reshape(2, num_candidates)
    assert torch.equal(brightness(best, None, None), sums.max(dim=1).values)


def test_candidates_of_a_sample_do_not_depend_on_its_batch(model, condition, empty):
    settings = {"target_grid": GRID, "temperature": 40, "num_candidates": 4}
    both = generate_best(model, condition, empty=empty, **settings).tokens
    second = slice(1, 2)
    alone = generate_best(
        model,
        condition.rows(second),
        empty=empty.rows(second),
        sample_ids=torch.tensor([1]),
        **settings,
    ).tokens
    assert torch.equal(alone[0], both[1])


def test_given_tokens_are_in_every_candidate(model, condition, empty):
    known = torch.full((2, *GRID), -1)
    known[:, 0] = 9
    best = generate_best(
        model, condition, empty=empty, num_candidates=3, known=known, target_grid=GRID
    ).tokens
    assert (best[:, 0] == 9).all()


def test_a_text_fits_by_how_much_likelier_it_makes_the_tokens(model, condition, empty):
    tokens = torch.randint(64, (2, *GRID), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        told, untold = (
            model.decoder(tokens, context).log_softmax(dim=-1).gather(-1, tokens[..., None]).sum()
            for context in (condition, empty)
        )
    assert text_fit(model, tokens, condition, empty).sum().item() == pytest.approx(
        (told - untold).item()
    )
    assert text_fit(model, tokens, condition, condition).tolist() == [0, 0]
