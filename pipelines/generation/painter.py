"""From what was asked and given to frames: the model at work."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields

import numpy as np
import torch
from einops import repeat
from jaxtyping import Int, UInt8
from torch import Tensor

from nuwa_model.errors import ConfigError
from nuwa_model.export import Export
from nuwa_model.generation import Sampling, Wave, freeze, synthesize
from nuwa_model.tokenizers.pixels import pixels_to_images
from pipelines.config import GenerationConfig
from pipelines.generation.composition import compose, continued
from pipelines.generation.given import Given, free_tokens
from pipelines.generation.wanted import Wanted
from pipelines.loading.pictures import to_images

AT_ONCE = 16
"""Samples that are decoded together."""


def sampling_of(settings: GenerationConfig) -> Sampling:
    """How tokens are drawn, of the settings that say it."""
    return Sampling(**{field.name: getattr(settings, field.name) for field in fields(Sampling)})


def choose_device(name: str = "") -> str:
    """The device of a name; without one a GPU where there is one.

    Raises:
        ConfigError: It cannot be used here.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise ConfigError(f"--device {name} cannot be used here ({why}): take cpu.") from None
    return name


def cut_texts(export: Export, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Texts that are longer than the model reads, and what it reads of each."""
    if not texts:
        return []
    tokens, is_read = export.text.encode(texts)
    rows = zip(texts, export.text.decode(tokens), is_read.all(dim=1).tolist(), strict=True)
    return [
        (text, read)
        for text, read, is_full in rows
        if is_full and len("".join(read.split())) < len("".join(text.split()))
    ]


@torch.inference_mode()
def paint(
    export: Export,
    wanted: Wanted,
    given: Given,
    on_wave: Callable[[Wave], None] = lambda _wave: None,
) -> Iterator[UInt8[np.ndarray, "s H W 3"]]:
    """Make the samples, in the order of ``wanted.samples``.

    Args:
        export: On any device.
        wanted: What was asked for.
        given: What was read of it.
        on_wave: Called with each pass of the decoder.
    """
    sampling = sampling_of(wanted.settings)
    device = next(export.model.parameters()).device
    pixels, is_free = torch.tensor(given.pixels), torch.tensor(given.is_free)
    factor = export.frames.config.factor
    known = known_tokens(export, given).to(device)
    sketches = None if given.labels is None else sketch_tokens(export, given)
    samples, frozen = wanted.samples, freeze(export.model)
    for start in range(0, len(samples), AT_ONCE):
        batch = samples[start : start + AT_ONCE]
        made = synthesize(
            export,
            wanted.task.name,
            texts=[text for text, _ in batch] if wanted.texts else (),
            sketches=None if sketches is None else _each(sketches, len(batch)),
            known=_each(known, len(batch)),
            sampling=sampling,
            schedule=wanted.settings.schedule,
            num_candidates=wanted.num_candidates,
            num_frames=wanted.num_frames,
            sample_ids=torch.tensor([number for _, number in batch], device=device),
            on_wave=on_wave,
            frozen=frozen,
        )
        made_pixels, window = made.pixels.cpu(), len(pixels)
        made_pixels[:, :window] = compose(
            made_pixels[:, :window], pixels, is_free, feather=max(1, factor // 4)
        )
        yield from made_pixels.numpy()


def known_tokens(export: Export, given: Given) -> Int[Tensor, "s h w"]:
    """Tokens of the given pixels, −1 where a token has a free one under it."""
    device = next(export.frames.parameters()).device
    pixels, is_free = torch.tensor(given.pixels), torch.tensor(given.is_free)
    is_free_token = torch.tensor(free_tokens(given.is_free, export.frames.config.factor))
    known = torch.full(is_free_token.shape, -1)
    frames = ~is_free_token.flatten(1).all(dim=1)
    if frames.any():
        images = pixels_to_images(continued(pixels[frames], is_free[frames]).to(device))
        known[frames] = export.frames.encode(images).cpu()
    return known.masked_fill(is_free_token, -1)


def sketch_tokens(export: Export, given: Given) -> Int[Tensor, "s h w"]:
    """Tokens of the label maps."""
    assert export.sketches is not None
    assert given.labels is not None
    device = next(export.sketches.parameters()).device
    labels = torch.tensor(given.labels).to(device)
    images = to_images(labels, "sketches", channels=export.sketches.config.channels)
    return export.sketches.encode(images)


def _each(tokens: Int[Tensor, "s h w"], count: int) -> Int[Tensor, "b s h w"]:
    return repeat(tokens, "s h w -> b s h w", b=count)
