import time

import pytest

from nuwa_model.flops import flops_per_token
from nuwa_model.tasks import TASKS
from pipelines.training.gpus import flops_of
from pipelines.training.speed import Speed, peak_flops
from tests.nuwa_model.test_model import CONFIG, make_batch


@pytest.mark.parametrize("task", ["T2I", "S2V"])
def test_utilization_is_what_the_tokens_cost_of_what_the_device_can_do(task):
    speed = Speed(CONFIG, "float32", world_size=2)
    tokens = sum(speed.count(make_batch(task)) for _ in range(3))
    told = speed.close_window()
    cost = flops_per_token(CONFIG, TASKS[task])
    assert told["mfu"] * speed.peak == pytest.approx(told["tokens_per_s"] * cost, rel=1e-3)
    assert tokens == 2 * 3 * make_batch(task).target.numel()
    assert speed.close_window()["tokens_per_s"] == 0


def test_the_share_of_waiting_is_of_the_window():
    speed = Speed(CONFIG, "float32", world_size=1)
    speed.restart()
    with speed.waiting():
        time.sleep(0.2)
    assert 0.5 < speed.close_window()["data_wait"] <= 1
    assert speed.close_window()["data_wait"] == 0


def test_a_processor_does_what_a_product_of_matrices_shows():
    assert 1e8 < peak_flops("float32") < 1e14


@pytest.mark.parametrize(
    ("device", "flops"),
    [("NVIDIA A100-SXM4-80GB", 312e12), ("NVIDIA H100 PCIe", 989e12), ("Tesla V100", None)],
)
def test_a_gpu_is_known_by_its_name(device, flops):
    assert flops_of(device) == flops
