import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """Matrices of these models are too small to share between threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
