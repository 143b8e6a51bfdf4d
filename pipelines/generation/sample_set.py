"""How samples lie on disk: a strip, a video and tokens each, and one list of them all.

While a set is made, each finished batch of it is one tar file beside the run's other files, put
there if absent: a killed run knows what it has, whoever made it.
"""

import io
import json
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from einops import rearrange
from jaxtyping import UInt8
from PIL import Image

from nuwa_model.generation import Synthesis
from pipelines import storage
from pipelines.generation.requests import Requests
from pipelines.video.encode import write_mp4

FRAMES_A_SECOND = Fraction(5, 2)
_WRITERS = 4  # ffmpeg processes at once; each is one thread


def batch_uri(work: str, task: str, start: int) -> str:
    """The file whose presence says that a batch is finished."""
    return storage.join(work, task, f"batch-{start:05d}.tar")


def write_batch(
    work: str, requests: Requests, synthesis: Synthesis, *, start: int, seed: int
) -> None:
    """Write a batch's samples and its record, unless somebody did."""
    with TemporaryDirectory(prefix="samples-") as folder, io.BytesIO() as packed:
        _draw_batch(Path(folder), requests, synthesis, start=start, seed=seed)
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(folder, arcname=".")
        uri = batch_uri(work, requests.task.name, start)
        storage.put_if_absent(uri, packed.getvalue())


def _draw_batch(
    root: Path, requests: Requests, synthesis: Synthesis, *, start: int, seed: int
) -> None:
    task = requests.task.name
    (root / task).mkdir()
    pixels, tokens = synthesis.pixels.cpu().numpy(), synthesis.tokens.cpu().numpy()
    known = None if requests.known is None else requests.known.numpy()
    with ThreadPoolExecutor(_WRITERS) as pool:
        rows = list(
            pool.map(
                lambda i: {
                    "task": task,
                    "index": start + i,
                    "clip_id": requests.clip_ids[i],
                    "text": requests.texts[i],
                    "seed": seed,
                    **_write_sample(root, f"{task}/{start + i:05d}", pixels[i], tokens[i]),
                    "known": "" if known is None else _write_known(root, task, start + i, known[i]),
                },
                range(len(pixels)),
            )
        )
    record = {"rows": rows, "num_steps": synthesis.num_steps}
    _record(root, task, start).write_text(json.dumps(record))


def _write_sample(
    root: Path, stem: str, frames: UInt8[np.ndarray, "s H W 3"], tokens: np.ndarray
) -> dict[str, str]:
    names = {"strip": f"{stem}.png", "tokens": f"{stem}.npy", "video": ""}
    strip = Image.fromarray(rearrange(frames, "s H W c -> H (s W) c"))
    buffer = io.BytesIO()
    strip.save(buffer, format="png")
    (root / names["strip"]).write_bytes(buffer.getvalue())
    np.save(root / names["tokens"], tokens.astype(np.uint16))
    if len(frames) > 1:
        names["video"] = f"{stem}.mp4"
        write_mp4(root / names["video"], frames, FRAMES_A_SECOND)
    return names


def _write_known(root: Path, task: str, index: int, known: np.ndarray) -> str:
    """Write the tokens that were given, −1 where free; they say what must not have changed."""
    name = f"{task}/{index:05d}-known.npy"
    np.save(root / name, known.astype(np.int32))
    return name


def _record(root: Path, task: str, start: int) -> Path:
    return root / task / f"batch-{start:05d}.json"


def finish(
    work: str, root: Path, batches: Sequence[tuple[str, int]], decode_seconds: float
) -> dict[str, Any]:
    """Unpack the batches into one folder and join their records into its ``samples.json``.

    Args:
        work: Where the batches lie.
        root: Folder for the sample set.
        batches: Task and first index of each batch.
        decode_seconds: Time spent decoding in this run.

    Returns:
        For the manifest: samples and decoder passes of each task, and the time.
    """
    for task, start in batches:
        with (
            storage.open_file(batch_uri(work, task, start)) as file,
            tarfile.open(fileobj=file) as t,
        ):
            t.extractall(root, filter="data")
    records = [(task, json.loads(_record(root, task, i).read_text())) for task, i in batches]
    rows = [row for _, record in records for row in record["rows"]]
    storage.replace_bytes(str(root / "samples.json"), json.dumps(rows, indent=1).encode())
    tasks: dict[str, dict[str, int]] = {}
    for task, record in records:
        told = tasks.setdefault(task, {"num_samples": 0, "num_steps": record["num_steps"]})
        told["num_samples"] += len(record["rows"])
    return {"tasks": tasks, "decode_seconds": round(decode_seconds, 2)}
