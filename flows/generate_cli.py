"""``nuwa generate``: pictures and videos of your own texts, sketches, pictures and videos."""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.parsers import Subparsers
from nuwa_model.errors import ConfigError
from pipelines.progress import Progress

if TYPE_CHECKING:
    from nuwa_model.generation import Wave
    from pipelines.generation.outline import Outline
    from pipelines.generation.sample_files import Place
    from pipelines.generation.wanted import Wanted

_ABOUT = """
T2I, T2V    a picture or a video of --text
S2I, S2V    of --sketch, a PNG label map, or a folder with one for each frame
V2V, TV2V   what comes after the first --given-frames of --video, or after one --image; by --text
I2I, TI2I   --image with what --mask covers painted anew, its lower half without one; by --text

What is given is made upright, resized to cover the model's square frame and cut at its middle, as
in training; that is the size of what comes out. Of a picture nothing outside the mask changes, bit
for bit in a PNG; given frames are kept likewise. A token is made anew if the mask touches one of
its pixels; what it shows ends at the mask's edge. Tokens are made row by row from the top and see
known ones above them, or to their left in their row, never those below: a hole is filled to fit
what is over it. With --num-candidates the one is kept that fits its text best, and what is known
below and beside it: try 8 for a hole.

A video has as many frames as the model was trained on, at 2.5 a second, or --frames. A longer one
is made window by window, each from the last half of the one before: what is further back is
forgotten, and that things stay as they are is not promised.

Without --seed it is 0; a seed gives the same files again, and each says how it was made.
"""

_NUMBERS: dict[str, tuple[type, str, str]] = {
    "num-samples": (int, "N", "of each text (1)"),
    "seed": (int, "N", "of the noise (0)"),
    "temperature": (float, "X", "divides the logits; 0 takes the likeliest tokens (1)"),
    "top-k": (int, "N", "draw from so many tokens; 0 is all (0)"),
    "top-p": (float, "X", "draw from the likeliest tokens of this total probability (0.95)"),
    "guidance": (float, "X", "how strongly the text counts; 1 is as learned (1)"),
    "num-candidates": (int, "N", "draw so many of each and keep the one that fits best (1)"),
    "given-frames": (int, "N", "first frames that are given, at 2.5 a second (1)"),
}
"""Settings of ``GenerationConfig``, with what argparse is told of them."""

_FILES = {
    "image": "JPEG, PNG, WEBP, BMP or TIFF",
    "mask": "PNG, BMP or TIFF as large as the image; paint where neither black nor transparent",
    "video": "whatever ffmpeg reads",
    "sketch": "PNG, or a folder of them",
}


_RANGES = {
    "frames": (1, 10_000),  # an hour and more
    "num-samples": (1, 10_000),
    "num-candidates": (1, 1_000),
    "given-frames": (1, 10_000),
    "seed": (0, 2**64 - 1),
    "top-k": (0, 2**31 - 1),
}

_LONGEST_TEXT = 10_000
"""Characters; as JSON, at most twelve bytes each, they fit into one argument of ffmpeg."""


def add_commands(commands: Subparsers) -> None:
    """Add ``generate``, which loads torch only when all that was said makes sense."""
    parser = commands.add_parser(
        "generate",
        help="make pictures and videos with a trained model",
        description="Make pictures and videos with a trained model.",
        epilog=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", metavar="TASK", help="one of those below")
    what = "an export, or a checkpoint of a training: a folder, or an artifact in s3://…"
    parser.add_argument("--checkpoint", required=True, metavar="URI", help=what)
    what = "picture.png; of a video .mp4, .gif, or .png for its frames side by side"
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help=what)
    parser.add_argument("--overwrite", action="store_true", help="files that are there already")
    parser.add_argument("--text", action="extend", nargs="+", default=[], help="one or more")
    for name, what in _FILES.items():
        parser.add_argument(f"--{name}", metavar="FILE", help=what)
    for name, (kind, metavar, what) in _NUMBERS.items():
        parser.add_argument(f"--{name}", type=kind, metavar=metavar, help=what)
    what = "how long a video is, given ones included (as the model was trained)"
    parser.add_argument("--frames", type=int, metavar="N", help=what)
    parser.add_argument(
        "--schedule", choices=["wavefront", "sequential"], default="wavefront",
        help="how cells are ordered; both draw the same samples (%(default)s)",
    )  # fmt: skip
    parser.add_argument("--device", default="", help="such as cpu or cuda:1 (a GPU if there is)")
    parser.set_defaults(
        call=_generate,
        when_interrupted="Files that are there are whole; with --overwrite all are made anew.",
    )


def _generate(arguments: argparse.Namespace) -> None:
    """Check all that can be checked without the model, then make the samples."""
    from pipelines.generation import outline, sample_files
    from pipelines.generation.given import read_given

    wanted = _wanted(arguments)
    places = sample_files.places(wanted, overwrite=arguments.overwrite)
    with outline.export_folder(arguments.checkpoint) as found:
        about = outline.read_outline(found)
        sample_files.refuse_odd_size(places, about.size)
        given = read_given(wanted, about)

        from nuwa_model.export import Export
        from pipelines.generation import painter

        painter.sampling_of(wanted.settings)  # refuses what cannot be drawn
        device = painter.choose_device(arguments.device)
        export = Export.load(found.folder).to(device)
    for text, read in painter.cut_texts(export, wanted.texts):
        print(f"--text {text!r} is too long: the model reads {read!r}.", file=sys.stderr)
    num_batches = -(-len(places) // painter.AT_ONCE)
    with _Passes(num_batches) as passes:
        painted = painter.paint(export, wanted, given, passes)
        for place, (text, number), frames in zip(places, wanted.samples, painted, strict=True):
            told = sample_files.describe(wanted, about, text, number)
            sample_files.write_sample(place, frames, told, window=about.target_grid.s)
    _say(wanted, about, places)


def _wanted(arguments: argparse.Namespace) -> "Wanted":
    """What was asked for, as far as it makes sense before the model is known."""
    from pipelines.config import GenerationConfig
    from pipelines.generation.given import refuse_missing
    from pipelines.generation.wanted import Wanted, task_for

    words = vars(arguments)
    numbers = {name: words[name.replace("-", "_")] for name in _NUMBERS}
    numbers = {name: value for name, value in numbers.items() if value is not None}
    files = {name: words[name] for name in _FILES if words[name] is not None}
    others = [("text", bool(arguments.text)), ("frames", arguments.frames is not None)]
    said = {*numbers, *files, *(name for name, is_said in others if is_said)}
    task = task_for(arguments.task, said)
    for name, (least, most) in _RANGES.items():
        value = words[name.replace("-", "_")]
        if value is not None and not least <= value <= most:
            raise ConfigError(f"--{name} is {value}: give {least} to {most}.")
    for name, path in files.items():
        refuse_missing(name, path, is_folder=name == "sketch" and task.target == "video")
    settings: dict[str, Any] = {k.replace("-", "_"): v for k, v in numbers.items()}
    settings = {"num_samples": 1, "guidance": 1.0, **settings}  # more pulls things to the top left
    if "num_candidates" in settings:
        settings["num_candidates"] = {task.name: settings["num_candidates"]}
    return Wanted(
        task=task,
        out=arguments.out,
        texts=tuple(map(_usable, arguments.text)),
        num_frames=arguments.frames or 0,
        settings=GenerationConfig(schedule=arguments.schedule, **settings),
        **files,
    )


def _usable(text: str) -> str:
    """A text as it is, unless it says nothing, is endless, or holds bytes that are no UTF-8."""
    is_unicode = not any("\ud800" <= letter <= "\udfff" for letter in text)
    if not text.strip() or not is_unicode:
        raise ConfigError(f"--text {text!r} is no text: write what is to be seen.")
    if len(text) > _LONGEST_TEXT:
        raise ConfigError(f"--text has {len(text)} characters: give at most {_LONGEST_TEXT}.")
    return text


class _Passes:
    """A bar over the passes of the decoder: as many for each batch as the first one takes."""

    def __init__(self, num_batches: int) -> None:
        self._num_batches, self._stack = num_batches, ExitStack()
        self._bar: Progress | None = None
        self._of = self._done = 0

    def __enter__(self) -> "_Passes":
        return self

    def __exit__(self, *what: Any) -> None:
        self._stack.__exit__(*what)

    def __call__(self, wave: "Wave") -> None:
        if self._bar is None:
            self._of = wave.of
            self._bar = self._stack.enter_context(Progress("decode", wave.of * self._num_batches))
        # A smaller last batch takes fewer rounds of candidates.
        done = self._of * wave.number // wave.of
        self._bar.advance(done - self._done)
        self._done = done if wave.number < wave.of else 0


def _say(wanted: "Wanted", about: "Outline", places: "list[Place]") -> None:
    size, num_frames = about.size, wanted.num_frames or about.grid_of(wanted.task).s
    what = f"{num_frames} frames of {size}×{size}" if num_frames > 1 else f"{size}×{size}"
    for place, (text, _) in zip(places, wanted.samples, strict=True):
        named = " and ".join(map(str, place.paths))
        print(f"{named} ({what}) {text}".rstrip())
