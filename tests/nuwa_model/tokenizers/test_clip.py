"""CLIP's merges give CLIP's tokens."""

import gzip
import re
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from nuwa_model.errors import ConfigError, WeightsError
from nuwa_model.tokenizers.clip import MOST_MERGES, byte_letters
from nuwa_model.tokenizers.text import TextTokenizer

TEXTS = [
    "a photo of a cat",
    "A red circle moves   to the LEFT, then up!",
    "it's the dog's 2nd toy; they've 12 more...",
    "naïve café 猫 ",
    "!",
    "",
]


class Reference:
    """The published algorithm written down again: merge the pair that was learned first."""

    def __init__(self, path):
        merges = [tuple(line.split()) for line in path.read_text().split("\n")[1:] if line]
        letters = byte_letters()
        names = letters + [f"{letter}</w>" for letter in letters] + ["".join(m) for m in merges]
        self.ids = {name: i for i, name in enumerate([*names, "<start>", "<end>"])}
        self.ranks = {merge: rank for rank, merge in enumerate(merges)}
        ordered = sorted(range(256), key=lambda b: (not self.is_seen(b), b))
        self.letters = dict(zip(ordered, letters, strict=True))

    @staticmethod
    def is_seen(byte):
        return 33 <= byte <= 126 or 161 <= byte <= 172 or byte >= 174

    def encode(self, text):
        found = [self.ids["<start>"]]
        # Without \\p{L} in the standard library: a letter is a word character, no digit and no _.
        pattern = r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+"
        for word in re.findall(pattern, " ".join(text.split()).lower()):
            parts = [self.letters[b] for b in word.encode()]
            parts[-1] += "</w>"
            found += [self.ids[part] for part in self.merged(parts)]
        return [*found, self.ids["<end>"]]

    def merged(self, parts):
        while len(parts) > 1:
            pairs = list(pairwise(parts))
            first = min(pairs, key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if first not in self.ranks:
                break
            joined = []
            while parts:
                if tuple(parts[:2]) == first:
                    joined.append("".join(first))
                    parts = parts[2:]
                else:
                    joined.append(parts.pop(0))
            parts = joined
        return parts


@pytest.fixture(scope="module")
def merges(tmp_path_factory):
    """A file as published, of merges learned from a few words."""
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=500, end_of_word_suffix="</w>", show_progress=False, min_frequency=1
    )
    learner.train_from_iterator([text.lower() for text in TEXTS] * 3, trainer)
    folder = tmp_path_factory.mktemp("clip")
    learner.model.save(str(folder))
    path = folder / "merges.txt"
    lines = [line for line in path.read_text().split("\n") if line and line[0] != "#"]
    path.write_text("\n".join(["a version", *lines]) + "\n")
    assert len(lines) > 30
    return path


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_of_the_published_algorithm(merges, text):
    tokens, mask = TextTokenizer.from_clip(merges).encode([text])
    expected = Reference(merges).encode(text)
    assert tokens.shape == (1, 77)
    assert tokens[0][mask[0]].tolist() == expected
    assert mask[0].sum() == len(expected), "an exclamation mark has the number of padding"
    assert not tokens[0][~mask[0]].any()


def test_bytes_have_the_numbers_of_clip():
    letters = byte_letters()
    assert (letters[:3], len(set(letters))) == (["!", '"', "#"], 256)
    assert letters.index("a") == 64


def test_a_packed_file_is_read_too(merges, tmp_path):
    packed = tmp_path / "merges.txt.gz"
    packed.write_bytes(gzip.compress(merges.read_bytes(), mtime=0))
    both = [TextTokenizer.from_clip(path).encode(TEXTS)[0] for path in (merges, packed)]
    assert torch.equal(*both)


def test_a_long_text_keeps_its_start_and_end(merges):
    tokens, mask = TextTokenizer.from_clip(merges, length=8).encode(["a photo of a cat " * 9])
    (start,), (end,) = Reference(merges).encode("")[:1], Reference(merges).encode("")[1:]
    assert mask.all()
    assert (tokens[0, 0], tokens[0, -1]) == (start, end)


def test_tokens_come_back_as_lower_case_words(merges):
    text = TextTokenizer.from_clip(merges)
    assert text.decode(text.encode(["A photo  of a CAT"])[0]) == ["a photo of a cat"]


def test_what_was_saved_loads_and_encodes_the_same(merges, tmp_path):
    text = TextTokenizer.from_clip(merges)
    text.save_pretrained(tmp_path)
    loaded = TextTokenizer.from_pretrained(tmp_path)
    assert all(map(torch.equal, loaded.encode(TEXTS), text.encode(TEXTS)))


def test_more_merges_than_clip_learned_are_left_out(merges, tmp_path):
    long = tmp_path / "long.txt"
    letters = byte_letters()
    pairs = [f"{a} {b}</w>" for a in letters for b in letters]
    long.write_text("\n".join(["a version", *pairs]))
    assert len(pairs) > MOST_MERGES
    assert TextTokenizer.from_clip(long).vocabulary == 49_408


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no list of merges"),
        (b"v\na b c\n", "no list of merges"),
        (b"#version: 0.2\n\xc4\xa0 t\nh e\n", "no list of merges of CLIP's"),
        (b"v\nab c</w>\n", "merges of parts that come later"),
        (b"v\na b</w>\na b</w>\nc d\n", "lists 1 merges twice"),
        (b"\xff\xfe", "cannot be read"),
        (b"\x1f\x8b", "cannot be read"),
        (gzip.compress(bytes(99), mtime=0)[:10] + b"\xff" * 20, "cannot be read"),
    ],
)
def test_what_is_no_list_of_merges_is_refused(tmp_path, content, said):
    (tmp_path / "m.txt").write_bytes(content)
    with pytest.raises(WeightsError, match=said):
        TextTokenizer.from_clip(Path(tmp_path, "m.txt"))


def test_a_length_without_room_for_a_word_is_refused(merges):
    with pytest.raises(ConfigError, match="need 3 or more"):
        TextTokenizer.from_clip(merges, length=2)
