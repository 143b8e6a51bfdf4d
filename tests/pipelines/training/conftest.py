import pytest
import torch

from tests.pipelines.training.small_store import make_store


@pytest.fixture(autouse=True)
def _one_thread():
    """Matrices of these models are too small to share between threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def config(tmp_path):
    """Settings of a small store that has tokens and tokenizers."""
    return make_store(tmp_path)
