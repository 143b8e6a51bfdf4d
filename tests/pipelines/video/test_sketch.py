import io
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import MediaError
from pipelines.video.sketch import label_maps, read_sketch
from pipelines.video.window import cover


def cut(path, window, aspect):
    return np.asarray(Image.open(io.BytesIO(read_sketch(path, window, aspect=aspect))))


def save(path, labels, mode="L"):
    Image.fromarray(np.asarray(labels, np.uint8)).convert(mode).save(path)
    return path


def test_labels_are_taken_and_never_mixed(tmp_path):
    labels = np.random.default_rng(0).choice([0, 7, 200], size=(37, 64))
    seen = cut(save(tmp_path / "s.png", labels), cover(64, 37, 16), Fraction(64, 37))
    assert set(np.unique(seen)) <= {0, 7, 200}


def test_a_sketch_shows_the_window_of_its_picture(tmp_path):
    """The left third, the middle and the right third: of a 3 to 1 picture the middle is seen."""
    labels = np.repeat([[1, 2, 3]], 20, axis=0).repeat(20, axis=1)
    assert set(np.unique(cut(save(tmp_path / "s.png", labels), cover(60, 20, 8), Fraction(3)))) == {
        2
    }


@pytest.mark.parametrize("shrink", [1, 2, 4])
def test_a_sketch_may_be_smaller_than_its_picture(tmp_path, shrink):
    labels = np.kron([[1, 2], [3, 4]], np.ones((32 // shrink, 32 // shrink)))
    seen = cut(save(tmp_path / "s.png", labels), cover(64, 64, 8), Fraction(1))
    assert seen.tolist() == np.kron([[1, 2], [3, 4]], np.ones((4, 4))).tolist()


def test_at_its_own_size_a_sketch_is_unchanged(tmp_path):
    labels = np.random.default_rng(0).integers(0, 256, (16, 16))
    assert np.array_equal(cut(save(tmp_path / "s.png", labels), cover(16, 16, 16), 1), labels)


def test_a_sketch_of_another_shape_is_refused(tmp_path):
    with pytest.raises(MediaError, match=r"bad_sketch.*is 20x40"):
        cut(save(tmp_path / "s.png", np.zeros((40, 20))), cover(40, 20, 8), Fraction(2))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "1"])
def test_a_colored_picture_is_no_label_map(tmp_path, mode):
    path = save(tmp_path / "s.png", np.zeros((8, 8)), mode)
    with pytest.raises(MediaError, match=r"bad_sketch.*one channel"):
        cut(path, cover(8, 8, 8), Fraction(1))


def test_a_damaged_label_map_is_a_bad_sketch(tmp_path):
    (tmp_path / "s.png").write_bytes(b"\x89PNG")
    with pytest.raises(MediaError, match="bad_sketch"):
        cut(tmp_path / "s.png", cover(8, 8, 8), Fraction(1))


def test_numbered_label_maps_come_in_order_of_their_numbers(tmp_path):
    names = ["1.png", "2.png", "9.png", "10.png", "11-a.png", "frame 3.png", "frame 20.png"]
    for name in sorted(names):
        save(tmp_path / name, np.zeros((4, 4)))
    assert [path.name for path in label_maps(str(tmp_path), num_source_frames=7)] == names


def test_label_maps_come_in_order_of_name_and_one_for_each_frame(tmp_path):
    for name in ("b.png", "a.png", "c.PNG", "notes.txt"):
        save(tmp_path / "x.png", np.zeros((4, 4))).rename(tmp_path / name)
    maps = label_maps(str(tmp_path), num_source_frames=3)
    assert [path.name for path in maps] == ["a.png", "b.png", "c.PNG"]
    with pytest.raises(MediaError, match=r"bad_sketch.*has 3 PNG files.*4 frames"):
        label_maps(str(tmp_path), num_source_frames=4)
