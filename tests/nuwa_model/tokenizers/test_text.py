"""The text tokenizer in sentences."""

import pytest
import torch

from nuwa_model.errors import ConfigError, WeightsError
from nuwa_model.tokenizers.text import TextTokenizer

CAPTIONS = ["a red circle moves left", "A blue square moves quickly to the right", "None"]


@pytest.fixture
def text():
    return TextTokenizer.train(CAPTIONS, 512, 12)


def test_a_caption_comes_back_in_lower_case(text):
    tokens, mask = text.encode(["A Red Circle moves   LEFT"])
    assert tokens.shape == mask.shape == (1, 12)
    assert text.decode(tokens) == ["a red circle moves left"]


def test_padding_is_zero_and_masked_and_the_end_is_not(text):
    tokens, mask = text.encode(["a red circle", ""])
    assert torch.equal(mask, tokens != 0)
    assert mask[1].tolist() == [True] + [False] * 11
    assert tokens[1, 0] == 1


def test_a_long_text_loses_its_last_words_and_keeps_its_end(text):
    tokens, mask = text.encode(["a red circle moves left " * 20])
    assert mask.all()
    assert tokens[0, -1] == 1


def test_nothing_is_unknown(text):
    tokens, _ = TextTokenizer.train([], 258, 64).encode(["Ünïcode 日本 🎈"])
    assert TextTokenizer.train([], 258, 64).decode(tokens) == ["ünïcode 日本 🎈"]


def test_a_caption_that_spells_a_special_token_is_text(text):
    tokens, mask = text.encode(["<|padding|>"])
    assert mask[0, 0]
    assert text.decode(tokens)[0].startswith("<|pad")


def test_the_vocabulary_is_never_exceeded():
    many = [f"word{i} " * 3 for i in range(2000)]
    assert TextTokenizer.train(many, 300, 8).vocabulary == 300
    assert TextTokenizer.train(["None"], 300, 8).vocabulary <= 300


def test_the_order_of_captions_does_not_matter(text):
    again = TextTokenizer.train(reversed(CAPTIONS), 512, 12)
    assert torch.equal(again.encode(CAPTIONS)[0], text.encode(CAPTIONS)[0])


def test_what_was_saved_loads_and_encodes_the_same(text, tmp_path):
    text.save_pretrained(tmp_path)
    loaded = TextTokenizer.from_pretrained(tmp_path)
    assert loaded.vocabulary == text.vocabulary
    odd = [*CAPTIONS, "<|padding|>"]
    assert torch.equal(loaded.encode(odd)[0], text.encode(odd)[0])


def test_damage_is_refused_by_folder(text, tmp_path):
    text.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(WeightsError, match=str(tmp_path)):
        TextTokenizer.from_pretrained(tmp_path)


def test_a_vocabulary_without_room_for_all_bytes_is_refused():
    with pytest.raises(ConfigError, match=r"model\.text_vocabulary"):
        TextTokenizer.train(CAPTIONS, 100, 12)
