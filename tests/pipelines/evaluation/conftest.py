"""Drawn videos for the judge, and a run whose samples are drawn in place of generated ones."""

import io
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from einops import rearrange
from PIL import Image, ImageFilter

from nuwa_model.tokenizers.vqgan import VQGAN
from pipelines import artifacts, names, storage
from pipelines.config import config_tree
from pipelines.datasets.shapes import Scene, Thing, random_scene
from pipelines.datasets.shapes_captions import caption
from pipelines.datasets.shapes_drawing import draw_scene
from pipelines.presets import RUN_PRESETS
from pipelines.store.schema import CLIPS
from pipelines.store.shards import write_shard
from pipelines.store.table import StoreTable
from pipelines.video.encode import write_mp4

SIZE = 64


def _film(scene, *, size=SIZE, num_frames=10, blur=0.0, noise=0.0):
    """Frames of a scene, 0.4 s apart, shrunk from 128 pixels, blurred, through JPEG, noisy."""
    rng = np.random.default_rng(0)
    frames = [_frame(draw_scene(scene, 0.4 * step, 128), size, blur) for step in range(num_frames)]
    film = np.stack(frames)
    return (film + rng.normal(0, noise, film.shape)).clip(0, 255).astype(np.uint8)


def _frame(pixels, size, blur):
    picture = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    picture.filter(ImageFilter.GaussianBlur(blur)).save(stream, "JPEG", quality=95)
    return np.asarray(Image.open(stream))


def _scene(color="blue", shape="square", direction="right", speed="slowly", radius=0.16):
    start = {"right": (0.25, 0.5), "left": (0.75, 0.5), "up": (0.5, 0.75), "down": (0.5, 0.25)}
    thing = Thing(color, shape, direction, speed, radius, start[direction])
    return Scene((thing,), "white")


@pytest.fixture(scope="session")
def film():
    return _film


@pytest.fixture(scope="session")
def scene():
    return _scene


@pytest.fixture(scope="session")
def drawn_run(tmp_path_factory):
    """Make a store as the jobs leave it, with samples drawn by the generator of the data set.

    Every fifth sample shows another scene than its caption tells. Call it with the tasks that have
    samples, how many, and the one text of all clips if they are not to tell their scenes; it gives
    the run's settings.
    """

    def make(
        tasks=("T2V", "T2I", "V2V"), *, count=10, text=None, num_train=12, dataset="moving_shapes"
    ):
        store = str(tmp_path_factory.mktemp("store"))
        tiny = RUN_PRESETS["tiny"]
        config = replace(
            tiny,
            store=store,
            generation=replace(
                tiny.generation, tasks=tasks or tiny.generation.tasks, num_samples=count
            ),
        )
        rng = np.random.default_rng(3)
        scenes = [random_scene(rng) for _ in range(count + num_train)]
        texts = [caption(one, rng) if text is None else text for one in scenes]
        _write_clips(store, scenes, texts, count, dataset)
        folder = tmp_path_factory.mktemp("folder")
        _publish_models(config, folder, scenes)
        if tasks:
            _publish_samples(config, folder / "samples", scenes[:count], texts[:count])
        record = json.dumps({"job": "pretrain", "seconds": 187.5}).encode()
        storage.replace_bytes(storage.join(store, "records", "pretrain.json"), record)
        return config

    return make


def _write_clips(store, scenes, texts, num_validation, dataset):
    rows = [
        {
            "clip_id": f"clip-{number:04d}",
            "dataset": dataset,
            "split": "validation" if number < num_validation else "train",
            "kind": "video",
            "source_uri": f"{number}.mp4",
            "source_sha256": "0" * 64,
            "start_us": 0,
            "text": [text] if text else [],
            "frames": [_png(frame) for frame in _film(scene)],
            "frame_times_us": [400_000 * step for step in range(10)],
            "is_short": False,
            "decode_rule": "drawn",
        }
        for number, (scene, text) in enumerate(zip(scenes, texts, strict=True))
    ]
    table = StoreTable(store, "clips")
    shard = write_shard(table.root, pa.Table.from_pylist(rows, schema=CLIPS), inputs={"test": "1"})
    table.commit([shard])


def _publish_models(config, folder, scenes):
    vqgan = folder / "vqgan"
    VQGAN(config.vqgan).save_pretrained(vqgan)
    real = np.concatenate([_film(scene, num_frames=1) for scene in scenes[:8]])
    blurred = np.concatenate([_film(scene, num_frames=1, blur=1.0) for scene in scenes[:8]])
    rows = rearrange(np.stack([real, blurred]), "r b h w c -> (r h) (b w) c")
    Image.fromarray(rows).save(vqgan / "reconstructions.png")
    steps = range(0, 400, 4)
    curve = [
        {"step": step, "task": part, "loss": level / (1 + step / 20) + 0.02 * (step % 3)}
        for step in steps
        for part, level in (("reconstruction", 1.0), ("perceptual", 0.6))
    ]
    use = {"codebook_size": 64, "codes_alive": 48, "perplexity": 16.0}
    metadata = {"psnr": 27.4, "ssim": 0.93, **use, "curve": curve}
    tree = config_tree(config)
    artifacts.publish(
        config.store, "vqgan", names.vqgan_name(config), vqgan, config=tree, metadata=metadata
    )
    export = folder / "export"
    export.mkdir()
    (export / "config.json").write_text("{}")
    curve = [
        {"step": step, "task": task, "loss": level / (1 + step / 50)}
        for step in steps
        for task, level in (("T2V", 5.0), ("T2I", 4.0), ("V2V", 4.5))
    ]
    metadata = {"validation_loss": {"T2V": 0.61, "V2V": 0.52}, "curve": curve}
    name = names.pretrain_name(config)
    artifacts.publish(config.store, "export", name, export, config=tree, metadata=metadata)


def _publish_samples(config, folder, scenes, texts):
    rng = np.random.default_rng(11)
    rows = []
    for task in config.generation.tasks:
        (folder / task).mkdir(parents=True)
        for index, (scene, text) in enumerate(zip(scenes, texts, strict=True)):
            shown = random_scene(rng) if index % 5 == 4 else scene
            row = _write_sample(folder, task, index, _film(shown, blur=0.7, noise=3))
            rows.append(row | {"text": "" if task == "V2V" else text, "seed": 0})
    (folder / "samples.json").write_text(json.dumps(rows))
    artifacts.publish(
        config.store,
        "samples",
        names.samples_name(config, names.pretrain_name(config)),
        folder,
        config=config_tree(config),
        metadata={
            "tasks": {task: {"num_steps": 61} for task in config.generation.tasks},
            "seconds": 12.5,
        },
    )


def _write_sample(folder, task, index, video):
    frames = video[:1] if task.endswith("I") else video
    name = f"{task}/{index:05d}"
    Image.fromarray(rearrange(frames, "s h w c -> h (s w) c")).save(folder / f"{name}.png")
    if len(frames) > 1:
        write_mp4(folder / f"{name}.mp4", frames, 2.5)
    return {
        "task": task,
        "index": index,
        "clip_id": f"clip-{index:04d}",
        "strip": f"{name}.png",
        "video": f"{name}.mp4" if len(frames) > 1 else None,
        "tokens": f"{task}/tokens.npy",
    }


def _png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
