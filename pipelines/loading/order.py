"""Which stream and which examples a step reads: arithmetic on (seed, step), with no state.

Nothing is shuffled in memory. A keyed permutation is evaluated where it is needed, so that step
one million costs what step one does, and every rank, restart and world size agrees by
construction. The arithmetic is ours and on integers: a new numpy changes no order.

A step draws one stream: a task, or excerpts for it. Every stream walks through its examples by
itself: its *n*-th step reads the positions ``n * batch_size`` and following, and each epoch of
``num_examples`` positions is another permutation, so each example is read exactly once an epoch.
Batches run on across the end of an epoch.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

_ROUNDS = np.arange(8, dtype=np.uint64)
_STEPS_IN_BLOCK = 4096
_INCREMENT, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_BITS = 2**64 - 1


def draw(seed: int, stream: str, *indexes: int | NDArray[np.integer]) -> Words:
    """Random 64-bit words, one for each index, the same whenever they are asked for.

    Args:
        seed: Of the run.
        stream: What they are for; streams are independent of each other.
        indexes: Whole numbers of at least zero, or arrays of them that broadcast.
    """
    name = hashlib.sha256(f"{seed} {stream}".encode()).digest()
    words: int | Words = int.from_bytes(name[:8], "little")
    for index in indexes:
        if isinstance(words, int) and isinstance(index, int):  # in a tenth of an array's time
            words = _mixed_number(words ^ _mixed_number(index))
        else:
            words = _mixed(_as_words(words) ^ _mixed(_as_words(index)))
    return _as_words(words)


def draw_fractions(
    seed: int, stream: str, *indexes: int | NDArray[np.integer]
) -> NDArray[np.float64]:
    """Random numbers in [0, 1), as ``draw`` gives them."""
    words = draw(seed, stream, *indexes) >> np.uint64(11)
    return words.astype(np.float64) * 2.0**-53


def permute(positions: NDArray[np.int64], size: int, keys: Words) -> NDArray[np.int64]:
    """Where a keyed permutation of ``range(size)`` sends positions, in time of their number.

    A Feistel network permutes the next larger power of four, and a value that falls outside is
    sent on until it falls inside (cycle walking: Black and Rogaway 2002), four times at most on
    average.

    Args:
        positions: Numbers from 0 to ``size - 1``.
        size: Elements permuted, at least one.
        keys: A random word for each position; equal words mean the same permutation.
    """
    half = max(1, (max(1, size - 1).bit_length() + 1) // 2)
    values = _feistel(positions.astype(np.uint64), half, keys)
    while (outside := values >= size).any():
        values[outside] = _feistel(values[outside], half, keys[outside])
    return values.astype(np.int64)


def stream_of_step(seed: int, step: int, weights: Mapping[str, float]) -> str:
    """The stream that a step trains, drawn by weight; the same on every rank."""
    names, bounds = _shares(tuple(weights.items()))
    block, place = divmod(step, _STEPS_IN_BLOCK)
    return names[int(_streams_of_block(seed, block, bounds)[place])]


def steps_before(seed: int, step: int, weights: Mapping[str, float]) -> int:
    """How many earlier steps train the same stream as this one."""
    _, bounds = _shares(tuple(weights.items()))
    block, place = divmod(step, _STEPS_IN_BLOCK)
    streams = _streams_of_block(seed, block, bounds)
    stream = streams[place]
    count = sum(_block_counts(seed, b, bounds)[stream] for b in range(block))
    return count + int(np.count_nonzero(streams[:place] == stream))


def examples_of_step(
    seed: int, stream: str, nth: int, *, num_examples: int, batch_size: int
) -> NDArray[np.int64]:
    """Examples of the global batch of a stream's ``nth`` step; ranks take slices of it.

    Args:
        seed: Of the run.
        stream: Its name: streams walk through their examples in different orders.
        nth: Steps of the same stream before this one.
        num_examples: Examples that serve the task, at least one.
        batch_size: Examples of the global batch.
    """
    positions = nth * batch_size + np.arange(batch_size)
    epochs, places = np.divmod(positions, num_examples)
    return permute(places, num_examples, draw(seed, f"order of {stream}", epochs))


@lru_cache
def _shares(weights: tuple[tuple[str, float], ...]) -> tuple[list[str], tuple[float, ...]]:
    """Streams by name, and the upper bound of each one's share of [0, 1)."""
    given = dict(weights)
    names = sorted(name for name, weight in given.items() if weight > 0)
    bounds = np.cumsum([given[name] for name in names]) / sum(given[name] for name in names)
    return names, tuple(bounds[:-1].tolist())


@lru_cache(maxsize=16)
def _streams_of_block(seed: int, block: int, bounds: tuple[float, ...]) -> NDArray[np.int64]:
    steps = block * _STEPS_IN_BLOCK + np.arange(_STEPS_IN_BLOCK)
    fractions = draw_fractions(seed, "task", steps)
    return np.searchsorted(np.array(bounds), fractions, side="right")


@lru_cache(maxsize=65_536)
def _block_counts(seed: int, block: int, bounds: tuple[float, ...]) -> tuple[int, ...]:
    streams = _streams_of_block(seed, block, bounds)
    return tuple(np.bincount(streams, minlength=len(bounds) + 1).tolist())


def _feistel(values: Words, half: int, keys: Words) -> Words:
    bits, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> bits, values & mask
    for key in _mixed(keys + _ROUNDS[:, None]):
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return (left << bits) | right


def _as_words(numbers: int | NDArray[np.integer]) -> Words:
    return np.atleast_1d(numbers).astype(np.uint64)


def _mixed(words: Words) -> Words:
    """SplitMix64's output function (Steele, Lea and Flood 2014)."""
    words = words + np.uint64(_INCREMENT)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(_FIRST)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(_SECOND)
    return words ^ (words >> np.uint64(31))


def _mixed_number(word: int) -> int:
    """The same of one."""
    word = (word + _INCREMENT) & _BITS
    word = ((word ^ (word >> 30)) * _FIRST) & _BITS
    word = ((word ^ (word >> 27)) * _SECOND) & _BITS
    return word ^ (word >> 31)
