"""A retokenization that starts while another is at work, as a late schedule or a person does it."""

import os
import subprocess
import sys

import numpy as np
import pytest
import ray
import torch
from PIL import Image

from pipelines.jobs.decode_clips import decode_clips
from pipelines.jobs.tokenize_clips import tokenize_clips
from pipelines.settings import load_config
from pipelines.store.verify import verify_store
from tests.pipelines.drawn_clips import publish_vqgan
from tests.pipelines.video.media import counting
from tests.stores import contents

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

NUM_IMAGES = 120


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "media"
    root.mkdir()
    for index in range(NUM_IMAGES):
        draw(root / f"{index}.png", index)
    for index in range(4):
        counting(root / f"{index}.mp4", rate=10, seconds=1 + index)
    (root / "broken.mp4").write_bytes(b"no video")
    return root


def draw(path, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(pixels).resize((40, 40)).save(path)


def change(folder):
    """Of each kind several: new, changed, touched, vanished; one mended, one caption."""
    for index in range(0, NUM_IMAGES, 6):
        draw(folder / f"new-{index}.png", 1000 + index)
        draw(folder / f"{index}.png", 2000 + index)
        os.utime(folder / f"{index + 1}.png", (1, 1))
        (folder / f"{index + 2}.png").unlink()
    counting(folder / "0.mp4", rate=10, seconds=6)
    counting(folder / "broken.mp4", rate=10, seconds=2.2)
    (folder / "3.txt").write_text("many colors")


def settings_of(folder, store):
    return [
        "dataset.name=folder",
        f"dataset.root={folder}",
        f"store={store}",
        "clips.shard_sources=4",
        "tokenize.shard_clips=4",
    ]


def do_alone(config, tmp_path):
    """What one undisturbed run does, less the flow around it."""
    torch.manual_seed(0)
    if not ray.is_initialized():
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    publish_vqgan(config, tmp_path / "vqgan")
    decode_clips(config)
    tokenize_clips(config)


def together(command, homes):
    """Start the same command twice at once; what each said."""
    running = []
    for home in homes:
        said = home.with_suffix(".txt").open("w+")
        environment = {**os.environ, "PREFECT_HOME": str(home)}
        process = subprocess.Popen(
            command, env=environment, stdout=said, stderr=subprocess.STDOUT, text=True
        )
        running.append((process, said))
    codes, words = [], []
    for process, said in running:
        try:
            codes.append(process.wait(600))
        finally:
            process.kill()
        said.seek(0)
        words.append(said.read())
        said.close()
    assert codes == [0, 0], "\n".join(words)
    return words


def test_two_overlapping_retokenizations_end_in_one_correct_store(place, folder, tmp_path):
    alone = load_config(overrides=settings_of(folder, tmp_path / "alone"))
    shared = load_config(overrides=settings_of(folder, place))
    for config in (alone, shared):
        do_alone(config, tmp_path)
    change(folder)
    do_alone(alone, tmp_path)
    ray.shutdown()
    program = "from flows.cli import main; main()"
    command = [sys.executable, "-c", program, "run", "retokenize", "--set"]
    said = together([*command, *settings_of(folder, place)], [tmp_path / "a", tmp_path / "b"])
    assert verify_store(place) == [], "\n".join(said)
    assert_same(contents(place), contents(tmp_path / "alone"))


def assert_same(made, expected):
    """Tokens may differ where two codes are all but equally near: the batch decides then."""
    tokens = [[row.pop("tokens") for row in store["tokens"]] for store in (made, expected)]
    assert made == expected
    codes = [np.frombuffer(b"".join(rows), "<u2") for rows in tokens]
    assert np.mean(codes[0] == codes[1]) > 0.99
