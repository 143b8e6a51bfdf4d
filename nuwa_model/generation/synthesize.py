"""A task in, pixels out: what a person calls."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from jaxtyping import Int, UInt8
from torch import Tensor

from nuwa_model.config import NuwaConfig
from nuwa_model.encoder import Context
from nuwa_model.errors import ConfigError
from nuwa_model.export import Export
from nuwa_model.generation.candidates import generate_best
from nuwa_model.generation.frozen import Frozen
from nuwa_model.generation.longer import generate_long
from nuwa_model.generation.sample import Request, Wave
from nuwa_model.generation.sampling import Sampling
from nuwa_model.generation.schedule import Schedule
from nuwa_model.grid import Grid
from nuwa_model.tasks import NONE_TEXT, Task, get_task
from nuwa_model.tokenizers.pixels import images_to_pixels

_DECODE_AT_ONCE = 64


@dataclass(frozen=True)
class Synthesis:
    """Samples of one task.

    Attributes:
        pixels: RGB frames, 0 to 255; an image has ``s = 1``.
        tokens: What they were decoded from.
        num_steps: Passes of the decoder that sampled at least one cell.
    """

    pixels: UInt8[Tensor, "b s H W c"]
    tokens: Int[Tensor, "b s h w"]
    num_steps: int


@torch.inference_mode()
def synthesize(
    export: Export,
    task: str,
    *,
    texts: Sequence[str] = (),
    sketches: Int[Tensor, "b s h w"] | None = None,
    known: Int[Tensor, "b s h w"] | None = None,
    sampling: Sampling | None = None,
    schedule: Schedule = "wavefront",
    sample_ids: Int[Tensor, " b"] | None = None,
    num_candidates: int = 1,
    num_frames: int = 0,
    on_wave: Callable[[Wave], None] = lambda _wave: None,
    frozen: Frozen | None = None,
) -> Synthesis:
    """Generate a batch of samples of one of the eight tasks.

    Args:
        export: A model with its tokenizers.
        task: ``T2I``, ``T2V``, ``V2V``, ``S2I``, ``S2V``, ``I2I``, ``TI2I`` or ``TV2V``.
        texts: One a sample, for tasks that read text.
        sketches: Sketch tokens, for tasks that read sketches.
        known: Target tokens that are given, −1 where free: first frames, or an image outside its
            mask. Cells depend on known cells earlier in raster order only.
        sampling: How tokens are drawn. Guidance is for tasks that read text.
        schedule: ``wavefront``, or ``sequential`` for the same samples one token at a time.
        sample_ids: Number of each sample in its set, for the noise; default 0, 1, ….
        num_candidates: Draw so many of each sample and keep the one that best fits its condition,
            and what is known after a hole (``candidates.fit``); the paper kept one of 60.
        num_frames: Of a video, given ones included; 0 is as many as the model's window holds. More
            are decoded window by window (``generate_frames``, which says what is not promised);
            ``known`` is for the first window.
        on_wave: Called with the cells of each pass as soon as they are drawn.
        frozen: The export's model, frozen, where there will be more batches.

    Raises:
        ConfigError: The task's input is missing, there are to be no candidates, or several of what
            is longer than a window.
        UnknownNameError: There is no such task.
        GridError: Tokens do not fill the model's grids.
    """
    row = get_task(task)
    sampling = sampling or Sampling()
    if row.condition != "text":
        sampling = replace(sampling, guidance=1.0)
    if num_candidates != 1 and not row.can_rank:
        raise ConfigError(
            f"{num_candidates} candidates of {row.name} fit equally well, for it reads nothing and "
            "its given frames come first: draw 1."
        )
    grid = _window(export.model.config, row, num_frames)
    if num_frames > grid.s and num_candidates != 1:
        raise ConfigError(
            f"{num_candidates} candidates of {num_frames} frames cannot be ranked, for they are "
            f"decoded in windows of {grid.s}: draw 1, or at most {grid.s} frames."
        )
    context = encode_condition(export, row, texts=texts, sketches=sketches, known=known)
    needs_empty = sampling.guidance != 1 or num_candidates != 1
    empty = _encode_texts(export, [NONE_TEXT]).repeated(len(context)) if needs_empty else None
    asked = Request(
        target_grid=grid,
        sampling=sampling,
        known=known,
        unconditional=None if sampling.guidance == 1 else empty,
        schedule=schedule,
        sample_ids=sample_ids,
    )
    model = frozen or export.model
    if num_frames > grid.s:
        samples = generate_long(model, context, asked, num_frames=num_frames, on_wave=on_wave)
    else:
        samples = generate_best(
            model, context, asked, num_candidates=num_candidates, empty=empty, on_wave=on_wave
        )
    return Synthesis(decode_tokens(export, samples.tokens), samples.tokens, samples.num_steps)


def _window(config: NuwaConfig, task: Task, num_frames: int) -> Grid:
    """What is decoded at once."""
    if task.target == "image":
        return config.image_grid
    grid = config.target_grid
    return grid._replace(s=min(num_frames or grid.s, grid.s))


def encode_condition(
    export: Export,
    task: Task,
    *,
    texts: Sequence[str] = (),
    sketches: Int[Tensor, "b s h w"] | None = None,
    known: Int[Tensor, "b s h w"] | None = None,
) -> Context:
    """Read the condition that a task asks for; a task without one reads the text ``None``.

    Raises:
        ConfigError: It is missing.
    """
    device = next(export.model.parameters()).device
    if task.given != "nothing" and known is None:
        raise ConfigError(f"{task.name} needs known tokens ({task.given}): give known=…")
    if task.condition == "sketch":
        if sketches is None:
            raise ConfigError(f"{task.name} reads a sketch: give sketches=….")
        sketches = sketches.to(device)
        mask = torch.ones(len(sketches), sketches[0].numel(), dtype=torch.bool, device=device)
        return export.model.encoder(sketches, mask, is_sketch=True)
    if task.condition == "none":
        texts = [NONE_TEXT] * (1 if known is None else len(known))
    if not texts or isinstance(texts, str):
        raise ConfigError(f"{task.name} reads a text for each sample: give texts=[…].")
    return _encode_texts(export, texts)


def decode_tokens(export: Export, tokens: Int[Tensor, "b s h w"]) -> UInt8[Tensor, "b s H W c"]:
    """Decode frames, some at a time, to RGB bytes."""
    frames = rearrange(tokens, "b s h w -> (b s) h w").split(_DECODE_AT_ONCE)
    pixels = torch.cat([images_to_pixels(export.frames.decode(part)) for part in frames])
    return rearrange(pixels, "(b s) H W c -> b s H W c", b=len(tokens))


def _encode_texts(export: Export, texts: Sequence[str]) -> Context:
    device = next(export.model.parameters()).device
    tokens, mask = export.text.encode(list(texts))
    condition = rearrange(tokens, "b l -> b l 1 1").to(device)
    return export.model.encoder(condition, mask.to(device), is_sketch=False)
