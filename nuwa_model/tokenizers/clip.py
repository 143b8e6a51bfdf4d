"""CLIP's text tokenizer (Radford et al. 2021, https://arxiv.org/abs/2103.00020) from its merges.

Its tokens are numbered in this order: the 256 bytes as printable characters, the same as ends of
words, the merges in the order of the published file, the start and the end of a text.
"""

import gzip
import zlib
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from nuwa_model.errors import WeightsError

START, END = "<|startoftext|>", "<|endoftext|>"
CLIP_LENGTH = 77
MOST_MERGES = 49_152 - 256 - 2
"""The published file lists more; CLIP was trained with so many."""
CLIP_VOCABULARY = 2 * 256 + MOST_MERGES + 2

_WORD_END = "</w>"
# Endings such as 's, words, single digits, and runs of anything else that can be seen.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"


def clip_tokenizer(path: Path | str) -> Tokenizer:
    """Words to CLIP's tokens.

    Args:
        path: ``bpe_simple_vocab_16e6.txt``, or the same packed as ``.gz``.

    Raises:
        WeightsError: The file is missing or is no list of merges.
    """
    merges = _read_merges(Path(path))
    letters = byte_letters()
    names = [*letters, *(letter + _WORD_END for letter in letters), *map("".join, merges)]
    vocabulary = {name: number for number, name in enumerate([*names, START, END])}
    try:
        model = models.BPE(vocabulary, merges, end_of_word_suffix=_WORD_END)
    except Exception as error:  # tokenizers raises nothing narrower
        raise WeightsError(f"{path} has merges of parts that come later: {error}.") from error
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    words = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, to_bytes])
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace(_WORD_END, " ")])
    return tokenizer


def byte_letters() -> list[str]:
    """The character that stands for each byte: those that can be seen first, then the rest."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    seen += range(ord("®"), ord("ÿ") + 1)
    return [chr(b) for b in seen] + [chr(256 + n) for n in range(256 - len(seen))]


def _read_merges(path: Path) -> list[tuple[str, str]]:
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise WeightsError(f"{path} cannot be read: {error}.") from error
    lines = text.split("\n")[1 : MOST_MERGES + 1]  # the first one tells a version
    pairs = [tuple(line.split()) for line in lines if line.strip()]
    is_merges = all(len(pair) == 2 for pair in pairs)
    # Merges of other tokenizers, such as GPT-2's, know no ends of words: all words would be others.
    if not is_merges or not any(pair[1].endswith(_WORD_END) for pair in pairs):
        raise WeightsError(
            f"{path} is no list of merges of CLIP's; expected bpe_simple_vocab_16e6.txt, with two "
            f"parts a line after the first, some of which end in {_WORD_END}."
        )
    twice = len(pairs) - len(set(pairs))
    if twice:
        raise WeightsError(
            f"{path} lists {twice} merges twice; expected each once, as in "
            "bpe_simple_vocab_16e6.txt: fetch it again."
        )
    return [(pair[0], pair[1]) for pair in pairs]
