import math

import pytest

from pipelines.config import TrainingConfig
from pipelines.training.schedule import ema_decay, learning_rate

TRAINING = TrainingConfig(
    steps=101, learning_rate=2.0, warmup_fraction=0.1, final_fraction=0.1, batch_size=4
)


def test_the_learning_rate_rises_in_a_straight_line_to_its_peak():
    warmup = math.ceil(0.1 * 101)
    rates = [learning_rate(step, TRAINING) for step in range(warmup)]
    assert rates == pytest.approx([2.0 * (step + 1) / warmup for step in range(warmup)])


def test_the_learning_rate_falls_along_half_a_cosine_to_its_final_fraction():
    assert learning_rate(11, TRAINING) == pytest.approx(2.0)
    middle = (11 + 100) / 2
    halves = [
        learning_rate(math.floor(middle), TRAINING),
        learning_rate(math.ceil(middle), TRAINING),
    ]
    assert sum(halves) / 2 == pytest.approx((2.0 + 0.2) / 2, rel=1e-3)
    assert learning_rate(100, TRAINING) == pytest.approx(0.2)


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 1.0])
def test_every_run_however_short_has_a_positive_rate(steps, warmup):
    training = TrainingConfig(steps=steps, warmup_fraction=warmup)
    rates = [learning_rate(step, training) for step in range(steps)]
    assert all(0 < rate <= training.learning_rate for rate in rates)


def test_the_average_forgets_the_random_start_of_a_short_run():
    kept = math.prod(ema_decay(step, 0.99) for step in range(200))
    assert kept < 1e-4
    assert 0.99**200 > 0.1  # what it would be without the warm-up
    assert ema_decay(10**6, 0.99) == 0.99
