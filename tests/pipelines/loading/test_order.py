import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.loading.order import (
    draw,
    draw_fractions,
    examples_of_step,
    permute,
    steps_before,
    stream_of_step,
)

SEEDS = st.integers(0, 2**63)
WEIGHTS = {"T2I": 0.2, "T2V": 0.6, "V2V": 0.2}

GOLDEN_WORD = 9091205853214139361
GOLDEN_ORDER = [8, 4, 9, 5, 3, 1, 0, 2, 6, 7]
GOLDEN_TASKS = ["T2V", "T2V", "V2V", "T2I", "T2I", "T2I", "T2V", "T2V"]


@given(size=st.integers(1, 5000), seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_a_permutation_sends_everything_somewhere_and_nothing_twice(size, seed):
    positions = np.arange(size)
    found = permute(positions, size, np.broadcast_to(draw(seed, "key"), size))
    assert sorted(found.tolist()) == positions.tolist()


@given(
    seed=SEEDS,
    num_examples=st.integers(1, 200),
    batch_size=st.integers(1, 64),
    epochs=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_every_example_is_read_exactly_once_an_epoch(seed, num_examples, batch_size, epochs):
    steps = -(-epochs * num_examples // batch_size)
    read = np.concatenate(
        [
            examples_of_step(seed, "T2V", n, num_examples=num_examples, batch_size=batch_size)
            for n in range(steps)
        ]
    )
    for epoch in range(epochs):
        part = read[epoch * num_examples : (epoch + 1) * num_examples]
        assert sorted(part.tolist()) == list(range(num_examples))


def test_epochs_seeds_and_tasks_have_different_orders():
    def order(seed, stream, epoch):
        return examples_of_step(seed, stream, epoch, num_examples=50, batch_size=50).tolist()

    assert order(0, "T2V", 0) == order(0, "T2V", 0)
    others = [order(0, "T2V", 1), order(1, "T2V", 0), order(0, "T2I", 0)]
    assert all(order(0, "T2V", 0) != other for other in others)


def test_every_place_of_an_epoch_is_as_likely_for_every_example():
    size, epochs = 10, 4000
    orders = examples_of_step(3, "T2V", 0, num_examples=size, batch_size=size * epochs)
    counts = np.zeros((size, size))
    np.add.at(counts, (np.tile(np.arange(size), epochs), orders), 1)
    assert np.abs(counts / epochs - 1 / size).max() < 5 * np.sqrt(0.1 * 0.9 / epochs)


def test_a_late_step_costs_no_more_than_an_early_one():
    batch = examples_of_step(0, "T2V", 10**12, num_examples=968_000, batch_size=64)
    assert len(set(batch.tolist())) == 64


def test_random_numbers_are_the_same_for_ever():
    assert draw(0, "golden", 7).tolist() == [GOLDEN_WORD]
    assert draw(0, "golden", np.array([7])).tolist() == [GOLDEN_WORD]
    assert draw(0, "golden", 7, 2**40).tolist() == draw(0, "golden", 7, np.array([2**40])).tolist()
    order = examples_of_step(1, "T2V", 0, num_examples=10, batch_size=10)
    assert order.tolist() == GOLDEN_ORDER
    assert [stream_of_step(0, step, WEIGHTS) for step in range(8)] == GOLDEN_TASKS


def test_random_numbers_are_even_and_indexes_independent():
    fractions = draw_fractions(5, "dropout", np.arange(100)[:, None], np.arange(1000))
    assert fractions.shape == (100, 1000)
    assert 0 <= fractions.min() < fractions.max() < 1
    assert fractions.mean() == pytest.approx(0.5, abs=0.005)
    assert abs(np.corrcoef(fractions[0], fractions[1])[0, 1]) < 0.15


def test_tasks_are_drawn_by_weight_whatever_their_order_or_scale():
    tasks = [stream_of_step(2, step, WEIGHTS) for step in range(3000)]
    for name, weight in WEIGHTS.items():
        assert tasks.count(name) / 3000 == pytest.approx(weight, abs=0.04)
    scaled = {name: 5 * WEIGHTS[name] for name in reversed(WEIGHTS)}
    assert [stream_of_step(2, step, scaled) for step in range(100)] == tasks[:100]


def test_a_task_without_weight_is_never_drawn():
    weights = {"T2V": 1.0, "V2V": 0.0}
    assert {stream_of_step(0, step, weights) for step in range(200)} == {"T2V"}


@given(seed=SEEDS, first=st.integers(0, 3).map(lambda blocks: 4096 * blocks))
@settings(max_examples=10, deadline=None)
def test_the_steps_of_a_task_are_counted_without_a_gap(seed, first):
    counts = {}
    for step in range(max(0, first - 20), first + 20):
        task, nth = stream_of_step(seed, step, WEIGHTS), steps_before(seed, step, WEIGHTS)
        assert nth == counts.get(task, nth)
        counts[task] = nth + 1
    if first == 0:
        assert sum(counts.values()) == 20
