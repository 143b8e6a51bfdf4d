from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.pipelines.datasets.records import example, write_records

SIDE = 64


def trajectory(shade, num_frames=12):
    """One record as published: two cameras, actions and positions of every frame."""
    features = {}
    for number in range(num_frames):
        frame = np.full((SIDE, SIDE, 3), (shade, number, 0), np.uint8)
        features[f"{number}/image_main/encoded"] = frame.tobytes()
        features[f"{number}/image_aux1/encoded"] = bytes(SIDE * SIDE * 3)
        features[f"{number}/action"] = [0.1, 0.2, 0.3, 0.4]
        features[f"{number}/endeffector_pos"] = [0.5, 0.6, 0.7]
    return example(**features)


def published(root):
    records = root / "softmotion30_44k"
    shades = {"train/traj_0_to_255": (10, 11), "test/traj_0_to_255": (20,)}
    for name, of_file in shades.items():
        write_records(records / f"{name}.tfrecords", [trajectory(shade) for shade in of_file])
    return root


def colors(folder):
    """Color of every frame of a folder, in order of name."""
    return [Image.open(path).getpixel((5, 5)) for path in sorted(Path(folder).iterdir())]


def test_every_record_becomes_a_folder_of_its_frames_in_order(tmp_path, listed):
    refs = listed("bair_robot_pushing", published(tmp_path / "bair"))
    assert [ref.split for ref in refs] == ["validation", "train", "train"]
    assert {(ref.kind, ref.frame_rate) for ref in refs} == {("video", "5/2")}
    for ref, shade in zip(refs, (20, 10, 11), strict=True):
        assert colors(ref.uri) == [(shade, number, 0) for number in range(12)]


def test_records_are_extracted_once(tmp_path, listed):
    root = published(tmp_path / "bair")
    first = listed("bair_robot_pushing", root)
    frame = next(Path(first[0].uri).iterdir())
    before = frame.stat().st_mtime_ns
    assert listed("bair_robot_pushing", root) == first
    assert frame.stat().st_mtime_ns == before


def test_records_that_were_replaced_are_extracted_again(tmp_path, listed):
    root = published(tmp_path / "bair")
    first = listed("bair_robot_pushing", root)
    records = [trajectory(shade, num_frames=3) for shade in (7, 8, 9)]
    write_records(root / "softmotion30_44k/train/traj_0_to_255.tfrecords", records)
    second = listed("bair_robot_pushing", root)
    assert [ref.uri for ref in second[:3]] == [ref.uri for ref in first]
    assert [colors(ref.uri) for ref in second[1:]] == [
        [(shade, number, 0) for number in range(3)] for shade in (7, 8, 9)
    ]
    assert not list((tmp_path / "store").rglob("*.old")), "what was replaced is gone"


def test_nothing_half_extracted_is_left_of_a_damaged_file(tmp_path, refused):
    root = published(tmp_path / "bair")
    path = root / "softmotion30_44k/test/traj_0_to_255.tfrecords"
    path.write_bytes(path.read_bytes()[:-1])
    assert "ends in the middle of a record" in refused("bair_robot_pushing", root)
    assert list((tmp_path / "store").rglob("*.png")) == []


def test_folders_of_frames_are_read_where_they_lie(tmp_path, listed, write):
    files = {
        f"processed_data/{split}/7/{n:02d}.png": "" for split in ("train", "test") for n in (0, 1)
    }
    root = write(tmp_path / "bair", files)
    assert [(ref.uri, ref.split) for ref in listed("bair_robot_pushing", root)] == [
        (f"{root}/processed_data/test/7", "validation"),
        (f"{root}/processed_data/train/7", "train"),
    ]


def test_frames_whose_names_do_not_sort_are_linked_in_order(tmp_path, listed, write):
    frames = {f"train/traj_0/3/{number}.png": str(number) for number in range(30)}
    (ref,) = listed("bair_robot_pushing", write(tmp_path / "bair", frames))
    assert str(tmp_path / "store") in ref.uri
    told = [path.read_text() for path in sorted(Path(ref.uri).iterdir())]
    assert told == [str(number) for number in range(30)]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        pytest.param(b"\xff\xff", "record 0, holds no tf.train.Example", id="no example"),
        pytest.param(example(x=b"1"), "no feature 0/image_main/encoded", id="other features"),
        pytest.param(
            example(**{"0/image_main/encoded": b"123"}), "has 3 bytes in frame 0", id="too short"
        ),
    ],
)
def test_a_record_that_is_wrong_is_refused_in_one_line(tmp_path, refused, record, said):
    write_records(tmp_path / "bair/train/a.tfrecords", [record])
    assert said in refused("bair_robot_pushing", tmp_path / "bair")


def test_a_folder_without_records_or_frames_is_refused(tmp_path, refused, write):
    assert "neither *.tfrecords nor folders" in refused("bair_robot_pushing", tmp_path)
    root = write(tmp_path / "loose", {"a/0.png": ""})
    assert "in no folder called train or test" in refused("bair_robot_pushing", root)
