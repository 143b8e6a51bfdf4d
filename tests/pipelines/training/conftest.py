from dataclasses import replace

import pytest
import torch

from nuwa_model.tokenizers.text import TextTokenizer
from nuwa_model.tokenizers.vqgan import VQGAN
from pipelines import names
from pipelines.config import RunConfig, TrainingConfig
from tests.pipelines.training.small_store import commit_tokens, publish


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
    training = TrainingConfig(tasks={"V2V": 1.0}, steps=5, batch_size=8, checkpoint_every=2)
    config = RunConfig(
        store=str(tmp_path / "store"), training=training, finetuning=replace(training, steps=3)
    )
    torch.manual_seed(0)
    frames = VQGAN(config.vqgan)
    text = TextTokenizer.train([], config.model.text_vocabulary, config.model.text_length)
    publish(config, "vqgan", names.vqgan_name(config), frames, tmp_path / "vqgan")
    publish(config, "text_tokenizer", names.text_tokenizer_name(config), text, tmp_path / "text")
    for number in range(3):
        commit_tokens(config, frames.fingerprint, number, "train")
    return config
