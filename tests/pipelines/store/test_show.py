import numpy as np
import pytest
import torch
from PIL import Image

from pipelines import artifacts
from pipelines.clip_tokenizer import ClipTokenizer
from pipelines.config import TokenizeConfig
from pipelines.jobs.tokenize_clips import plan_work
from pipelines.store.drawing import Strip, draw_sheet, token_colors
from pipelines.store.show import show_clip
from pipelines.store.table import StoreTable
from tests.pipelines.drawn_clips import config_of, fill, publish_vqgan


@pytest.fixture
def config(tmp_path):
    """A store of clips with sketches, and tokens of both."""
    config = config_of(tmp_path / "store")
    fill(config.store, train=2, sketches=True)
    torch.manual_seed(0)
    tokens = StoreTable(config.store, "tokens")
    for kind, content in (("vqgan", "frames"), ("vqgan_seg", "sketches")):
        folder = tmp_path / kind
        fingerprint = publish_vqgan(config, folder, kind=kind).fingerprint
        worker = ClipTokenizer(str(folder), tokens.root, content, 32, TokenizeConfig(batch_size=8))
        work = plan_work(config, content, fingerprint)
        tokens.commit([worker.write_shard(item).shard for item in work])
    return config


def height_of(path):
    with Image.open(path) as picture:
        picture.load()
        return picture.height


def test_a_clip_is_drawn_with_all_that_is_known_of_it(config, tmp_path):
    target = str(tmp_path / "clip.png")
    assert show_clip(config.store, "0-0", target) == target
    whole = height_of(target)
    for kind in ("vqgan", "vqgan_seg"):
        [name] = artifacts.list_names(config.store, kind)
        artifacts.delete(config.store, kind, name)
    show_clip(config.store, "0-0", target)
    assert whole - height_of(target) > 2 * 100  # two rows of reconstructions


def test_the_picture_is_named_by_its_clip(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert show_clip(config.store, "0-1") == "0-1.png"
    assert (tmp_path / "0-1.png").exists()


def test_equal_tokens_have_equal_colors():
    tokens = np.array([[[3, 9], [9, 3]], [[3, 3], [200, 9]]])
    colors = token_colors(tokens)
    assert colors.shape == (2, 2, 2, 3)
    for one in np.ndindex(tokens.shape):
        for other in np.ndindex(tokens.shape):
            is_same = (colors[one] == colors[other]).all()
            assert is_same == (tokens[one] == tokens[other])


def test_small_pictures_are_enlarged_without_blur():
    red, blue = np.full((4, 4, 3), (255, 0, 0), np.uint8), np.full((2, 2, 3), (0, 0, 255), np.uint8)
    sheet = np.asarray(draw_sheet("title", [], [], [Strip(("x",), [red, blue])]))
    assert (sheet == (255, 0, 0)).all(-1).sum() == (sheet == (0, 0, 255)).all(-1).sum() == 160**2


def test_long_captions_are_wrapped():
    red = np.zeros((32, 32, 3), np.uint8)
    short, long = (
        draw_sheet("title", [note], [], [Strip(("x",), [red])]) for note in ("a", "word " * 60)
    )
    assert long.width == short.width
    assert long.height > short.height
