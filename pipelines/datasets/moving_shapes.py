"""Moving shapes as real files: H.264 videos, label maps and captions, written once.

They are then read like any user's folder.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.config import RunConfig, ShapesConfig
from pipelines.datasets.base import SourceRef, Split
from pipelines.datasets.folder import SKETCHES, list_folder
from pipelines.datasets.listings import Listings
from pipelines.datasets.shapes import PATH_SECONDS, Scene, random_scene
from pipelines.datasets.shapes_captions import caption
from pipelines.datasets.shapes_drawing import draw_labels, draw_scene
from pipelines.errors import SourceError
from pipelines.progress import Progress
from pipelines.storage import local_path
from pipelines.video.encode import write_mp4

FRAME_RATE = 5
"""Frames a second of a video: two for each frame of a clip."""

SETTINGS = "moving_shapes.json"
"""File at the root that says what the folder's videos were made from; it is written first."""

# Part of every video's seed, so that no video of one split is drawn again in the other.
_SEEDS: dict[Split, int] = {"train": 2111, "validation": 12417}
_MOST_DRAWS = 1000
_CRF = 10  # a small clip's tokens should say what was drawn, not what the encoder left out
_GENERATOR = 4  # raise when the same settings would draw something else


def list_moving_shapes(config: RunConfig, listings: Listings) -> Iterator[SourceRef]:
    """Write the videos that ``config.dataset.shapes`` asks for, unless they are there; list them.

    A generation that was interrupted goes on where it stopped: a video counts once it has its
    final name, and the captions come last.

    Raises:
        SourceError: The folder holds something else.
        StorageError: It is not on this machine.
    """
    root = local_path(config.dataset_root)
    shapes = config.dataset.shapes
    _claim(root, shapes)
    if not (root / "captions.jsonl").is_file():
        _generate(root, shapes)
    return list_folder(config, listings)


@dataclass(frozen=True)
class _Video:
    split: Split
    index: int
    scene: Scene
    text: str

    @property
    def name(self) -> str:
        return f"{self.split}/{self.index:05d}"


def _claim(root: Path, shapes: ShapesConfig) -> None:
    """Make sure that the folder is ours and of these settings."""
    settings = json.dumps({"generator": _GENERATOR, **dataclasses.asdict(shapes)}, indent=1)
    place = root / SETTINGS
    if not place.is_file():
        if root.is_dir() and any(not path.name.startswith(".") for path in root.iterdir()):
            raise SourceError(
                f"{root} is not empty and holds no moving shapes; set dataset.root to a new "
                "folder, or dataset.name=folder to read what is there."
            )
        _publish(place, settings)
    elif place.read_text() != settings:
        raise SourceError(
            f"{root} holds moving shapes of other settings (see {place}); choose another store or "
            "dataset.root, or remove the folder."
        )


def _publish(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_name(f".{place.name}.{os.getpid()}.part")
    unfinished.write_text(text)
    unfinished.replace(place)


def _generate(root: Path, shapes: ShapesConfig) -> None:
    videos = _plan_videos(shapes)
    lines: dict[_Video, str] = {}
    # Threads, because ffmpeg does the heavy part in processes of its own.
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        futures = {pool.submit(_write_video, root, video, shapes): video for video in videos}
        with Progress("write videos", len(videos)) as progress:
            for future in as_completed(futures):
                lines[futures[future]] = future.result()
                progress.advance()
    finally:
        pool.shutdown(cancel_futures=True)
    _publish(root / "captions.jsonl", "".join(lines[video] for video in videos))


def _plan_videos(shapes: ShapesConfig) -> list[_Video]:
    """Scenes and captions of all videos, no scene twice: a copy would be one clip, not two.

    Quick things have fewer paths, so that they are the rarer the more plain scenes are asked for.

    Raises:
        SourceError: More videos are asked for than there are scenes.
    """
    seen: set[Scene] = set()
    videos = []
    counts: dict[Split, int] = {
        "validation": shapes.num_validation,
        "train": shapes.num_train,
    }
    for split, count in counts.items():
        for index in range(count):
            rng = np.random.default_rng([_SEEDS[split], index])
            scene = _new_scene(rng, shapes, seen)
            seen.add(scene)
            videos.append(_Video(split, index, scene, caption(scene, rng)))
    return videos


def _new_scene(rng: np.random.Generator, shapes: ShapesConfig, seen: set[Scene]) -> Scene:
    for _ in range(_MOST_DRAWS):
        scene = random_scene(
            rng,
            textured_background=shapes.textured_background,
            second_object=shapes.second_object,
        )
        if scene not in seen:
            return scene
    raise SourceError(
        f"After {len(seen)} videos no new scene was found in {_MOST_DRAWS} draws: ask for fewer "
        "with dataset.shapes.num_train, or set dataset.shapes.textured_background=true."
    )


def _write_video(root: Path, video: _Video, shapes: ShapesConfig) -> str:
    """Write one video and its sketches unless they are there; its line of captions."""
    scene = video.scene
    told = {"file": f"{video.name}.mp4", "text": video.text, "split": video.split}
    place = root / f"{video.name}.mp4"
    if not place.is_file():
        times = [index / FRAME_RATE for index in range(round(PATH_SECONDS * FRAME_RATE) + 1)]
        labels = [draw_labels(scene, time_s, shapes.size) for time_s in times]
        _write_sketches(root / SKETCHES / video.name, labels)
        place.parent.mkdir(parents=True, exist_ok=True)
        frames = np.stack([draw_scene(scene, time_s, shapes.size) for time_s in times])
        write_mp4(place, frames, FRAME_RATE, crf=_CRF)
    return json.dumps(told) + "\n"


def _write_sketches(folder: Path, labels: list[np.ndarray]) -> None:
    """Write a folder of label maps that appears whole or not at all."""
    if folder.is_dir():
        return
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for index, label_map in enumerate(labels):
        Image.fromarray(label_map).save(unfinished / f"{index:05d}.png", compress_level=1)
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # otherwise another process drew the very same
            raise
        shutil.rmtree(unfinished)
