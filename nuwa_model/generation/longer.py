"""Videos longer than those a model was trained on, window by window."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from nuwa_model.encoder import Context
from nuwa_model.errors import GridError
from nuwa_model.generation.frozen import Frozen, freeze
from nuwa_model.generation.sample import Request, Samples, Wave, decode_waves, in_round
from nuwa_model.grid import Grid
from nuwa_model.model import Nuwa


def generate_long(
    model: Nuwa | Frozen,
    condition: Context,
    asked: Request,
    *,
    num_frames: int,
    on_wave: Callable[[Wave], None] = lambda _wave: None,
) -> Samples:
    """All frames of ``generate_frames`` together.

    Raises:
        GridError, ConfigError: As that says.
    """
    num_steps = 0

    def count(wave: Wave) -> None:
        nonlocal num_steps
        num_steps += wave.is_drawn
        on_wave(wave)

    frames = generate_frames(model, condition, asked, num_frames=num_frames, on_wave=count)
    tokens = torch.stack(list(frames), dim=1)
    return Samples(tokens, num_steps)


def generate_frames(
    model: Nuwa | Frozen,
    condition: Context,
    asked: Request,
    *,
    num_frames: int,
    on_wave: Callable[[Wave], None] = lambda _wave: None,
) -> Iterator[Int[Tensor, "b h w"]]:
    """Decode a video of any length, and hand on each frame as soon as its last cell is drawn.

    The target's grid is a window: when it is full, its last ⌊s/2⌋ frames become the given first
    frames of the next one, which is what V2V is trained for. Memory depends on the window and not
    on the number of frames, and a video no longer than a window is the one ``generate`` draws. What
    is more than one window back is forgotten, and a condition says the same in every window: that a
    scene stays itself, or a motion goes on as the text says, is not promised.

    Args:
        model: The transformer, in evaluation mode; frozen, where it is called more than once.
        condition: Encoded by ``model.encoder``, one row a sample; a text or nothing.
        asked: For one window; ``known`` is for the first.
        num_frames: How many to decode, given ones included.
        on_wave: Called with each pass, counted among those of all windows; its cells are numbered
            within its window.

    Yields:
        Tokens of one frame.

    Raises:
        GridError: No frames are asked for, the window has a single frame, or a sketch, which lasts
            for one window, is to last for more.
        ConfigError: As ``generate`` says.
    """
    _check_length(condition, asked, num_frames)
    model, grid, kept = freeze(model), asked.target_grid, asked.target_grid.s // 2
    new = grid.s - kept
    num_windows = 1 + max(0, -(-(num_frames - grid.s) // new))
    frames: list[Int[Tensor, "b h w"]] = []
    for number in range(num_windows):
        size = grid._replace(s=min(grid.s, num_frames - number * new))
        window = replace(
            asked,
            target_grid=size,
            known=_given(frames[-kept:], size) if number else asked.known,
            first_cell=number * new * grid.h * grid.w,
        )
        frames = []
        for frame in _frames(model, condition, window, in_round(on_wave, number, num_windows)):
            if number == 0 or len(frames) >= kept:
                yield frame
            frames.append(frame)


def _given(frames: Sequence[Int[Tensor, "b h w"]], window: Grid) -> Int[Tensor, "b s h w"]:
    """A window's known tokens, of which the first frames are these."""
    known = torch.full((len(frames[0]), *window), -1)
    known[:, : len(frames)] = torch.stack(list(frames), dim=1)
    return known


def _frames(
    model: Frozen, condition: Context, window: Request, on_wave: Callable[[Wave], None]
) -> Iterator[Int[Tensor, "b h w"]]:
    """The frames of one window, each as soon as it is whole."""
    s, h, w = window.target_grid
    batch, device = len(condition), condition.states.device
    tokens = torch.empty(batch, s, h * w, dtype=torch.long, device=device)
    missing, frame = torch.full((s,), h * w, device=device), 0
    for wave in decode_waves(model, condition, window):
        on_wave(wave)
        tokens.flatten(1)[:, wave.cells] = wave.tokens
        missing -= torch.bincount(wave.cells // (h * w), minlength=s)
        while frame < s and missing[frame] == 0:
            yield tokens[:, frame].reshape(batch, h, w).clone()
            frame += 1


def _check_length(condition: Context, asked: Request, num_frames: int) -> None:
    s = asked.target_grid.s
    if num_frames < 1:
        raise GridError(f"A video of {num_frames} frames was asked for; at least 1 is needed.")
    if num_frames > s == 1:
        raise GridError(f"A window of one frame remembers nothing: {num_frames} need a larger one.")
    if num_frames > s and condition.mask is None:
        raise GridError(
            f"A sketch of {condition.grid.s} frames says nothing of the {num_frames} that were "
            f"asked for: generate at most {s}, or go on from the last frames with a text."
        )
