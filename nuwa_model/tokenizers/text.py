"""Captions to tokens: lower-cased byte-level BPE, trained on the captions at hand."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Int
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from nuwa_model.errors import ConfigError, WeightsError
from nuwa_model.tokenizers.clip import CLIP_LENGTH, END, clip_tokenizer

PADDING = "<|padding|>"
PADDING_ID, END_ID = 0, 1
NUM_BYTES = 256
SMALLEST_VOCABULARY = NUM_BYTES + 2
"""Every byte, padding and the end: no text is unknown."""


class TextTokenizer:
    """Turns texts into rows of ``length`` tokens: the text, an end token, padding.

    Upper and lower case are one, and so are runs of white space. A text that is too long loses
    its last words and keeps its end token.

    Args:
        tokenizer: What makes tokens of words.
        length: Tokens of a row.
        start: Tokens before every text: none, or CLIP's one.
        end: The token after every text.
    """

    def __init__(
        self, tokenizer: Tokenizer, length: int, *, start: Sequence[int] = (), end: int = END_ID
    ) -> None:
        least = len(start) + 2
        if length < least:
            raise ConfigError(
                f"text_length is {length}, but a word and its ends need {least} or more."
            )
        # A caption that spells out <|padding|> is text like any other.
        tokenizer.encode_special_tokens = True
        self._tokenizer = tokenizer
        self.length = length
        self._start, self._end = list(start), end

    @classmethod
    def train(cls, captions: Iterable[str], vocabulary: int, length: int) -> "TextTokenizer":
        """Learn merges from captions; equal captions give an equal tokenizer.

        Args:
            captions: Any number of texts, none included.
            vocabulary: Most tokens wanted, padding included; few captions give fewer.
            length: Tokens of an encoded text.

        Raises:
            ConfigError: ``vocabulary`` has no room for the bytes, or ``length`` for a word.
        """
        if vocabulary < SMALLEST_VOCABULARY:
            raise ConfigError(
                f"text_vocabulary is {vocabulary}, but 256 bytes, padding and the end need "
                f"{SMALLEST_VOCABULARY}: set model.text_vocabulary to that or more."
            )
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
        # The space before a word belongs to it; at the start of a text there is one as well.
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            special_tokens=[PADDING, END],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        # Sorted, because ties between merges are broken by the order of appearance.
        tokenizer.train_from_iterator(sorted(map(_plain, captions)), trainer)
        return cls(tokenizer, length)

    @classmethod
    def from_clip(cls, path: Path | str, length: int = CLIP_LENGTH) -> "TextTokenizer":
        """CLIP's tokenizer, from the merges published with it: every text gets CLIP's tokens.

        Padding is 0, as CLIP's own code has it, where 0 also is "!": the mask tells them apart.
        (CLIP repairs wrongly decoded text first, by ftfy, which is left to the caller.)

        Args:
            path: ``bpe_simple_vocab_16e6.txt``, or the same packed as ``.gz``.
            length: Tokens of an encoded text, the start and the end included.

        Raises:
            WeightsError: The file is missing or is no list of merges.
        """
        tokenizer = clip_tokenizer(path)
        size = tokenizer.get_vocab_size()  # the start and the end are its last two
        return cls(tokenizer, length, start=[size - 2], end=size - 1)

    @property
    def vocabulary(self) -> int:
        """Number of tokens, padding included; all tokens are below it."""
        return self._tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> tuple[Int[Tensor, "b l"], Bool[Tensor, "b l"]]:
        """Tokens of each text, and where they are no padding."""
        room = self.length - len(self._start) - 1
        encodings = self._tokenizer.encode_batch(
            [_plain(text) for text in texts], add_special_tokens=False
        )
        rows = [[*self._start, *encoding.ids[:room], self._end] for encoding in encodings]
        tokens = torch.full((len(rows), self.length), PADDING_ID)
        mask = torch.zeros(tokens.shape, dtype=torch.bool)
        for i, row in enumerate(rows):
            tokens[i, : len(row)] = torch.tensor(row)
            mask[i, : len(row)] = True
        return tokens, mask

    def decode(self, tokens: Int[Tensor, "b l"]) -> list[str]:
        """Texts of tokens, lower-cased, up to their end."""
        rows = [row[len(self._start) :] for row in tokens.tolist()]
        rows = [row[: row.index(self._end)] if self._end in row else row for row in rows]
        return [text.strip() for text in self._tokenizer.decode_batch(rows)]

    def save_pretrained(self, path: Path | str) -> None:
        """Write ``config.json`` and ``tokenizer.json`` into a folder."""
        folder = Path(path)
        folder.mkdir(parents=True, exist_ok=True)
        config = {"length": self.length, "start": self._start, "end": self._end}
        (folder / "config.json").write_text(json.dumps(config) + "\n")
        self._tokenizer.save(str(folder / "tokenizer.json"))

    @classmethod
    def from_pretrained(cls, path: Path | str) -> "TextTokenizer":
        """Read what ``save_pretrained`` wrote.

        Raises:
            WeightsError: A file is missing or damaged.
        """
        folder = Path(path)
        try:
            config = json.loads((folder / "config.json").read_text())
            length = int(config["length"])
            ends = {name: config[name] for name in ("start", "end") if name in config}
            tokenizer = _parse((folder / "tokenizer.json").read_text())
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"{folder} is not a text tokenizer that save_pretrained wrote: {error}"
            ) from error
        return cls(tokenizer, length, **ends)


def _parse(text: str) -> Tokenizer:
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # tokenizers raises nothing narrower
        raise ValueError(str(error)) from error


def _plain(text: str) -> str:
    return " ".join(text.split())
