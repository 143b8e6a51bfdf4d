import json

import numpy as np
import pytest
from PIL import Image

from nuwa_model.tokenizers.labels import UNKNOWN_LABEL

IMAGES = [
    {
        "license": 3,
        "file_name": "000000391895.jpg",
        "coco_url": "http://images.cocodataset.org/train2017/000000391895.jpg",
        "height": 4,
        "width": 6,
        "id": 391895,
    },
    {"file_name": "000000522418.jpg", "height": 3, "width": 3, "id": 522418},
]
CAPTIONS = {
    "info": {"year": 2017},
    "images": IMAGES,
    "annotations": [
        {"image_id": 391895, "id": 770337, "caption": "A man with a red helmet. "},
        {"image_id": 391895, "id": 771687, "caption": "Man riding a motor bike."},
    ],
}
INSTANCES = {
    "images": IMAGES,
    "annotations": [
        {
            "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]],
            "area": 4.0,
            "iscrowd": 0,
            "image_id": 391895,
            "category_id": 4,
            "id": 151091,
        },
        {
            "segmentation": {"counts": [12, 4, 8], "size": [4, 6]},
            "area": 4,
            "iscrowd": 1,
            "image_id": 391895,
            "category_id": 1,
            "id": 900100002299,
        },
    ],
}
# Stuff comes as compressed runs: 16 pixels outside, 8 inside; "other" (183) says where things are.
STUFF = {
    "images": IMAGES,
    "annotations": [
        {
            "segmentation": {"counts": "`08", "size": [4, 6]},
            "area": 8.0,
            "iscrowd": 0,
            "image_id": 391895,
            "category_id": 124,
            "id": 10000000,
        },
        {
            "segmentation": {"counts": "0`08", "size": [4, 6]},
            "area": 16.0,
            "iscrowd": 0,
            "image_id": 391895,
            "category_id": 183,
            "id": 10000001,
        },
    ],
}


def files_of(**kinds):
    files = {f"annotations/{kind}_train2017.json": json.dumps(data) for kind, data in kinds.items()}
    return {"train2017/000000391895.jpg": "", **files}


def annotated(write, root, **kinds):
    return write(root, files_of(**kinds))


def test_captions_go_with_images_and_the_name_of_the_set_is_the_split(tmp_path, listed, write):
    root = annotated(write, tmp_path / "coco", captions=CAPTIONS)
    write(root, {"annotations/captions_val2017.json": json.dumps({**CAPTIONS, "annotations": []})})
    refs = listed("coco", root)
    assert [(ref.uri.removeprefix(f"{root}/"), ref.text, ref.split) for ref in refs] == [
        (
            "train2017/000000391895.jpg",
            ("A man with a red helmet.", "Man riding a motor bike."),
            "train",
        ),
        ("train2017/000000522418.jpg", (), "train"),
        ("val2017/000000391895.jpg", (), "validation"),
        ("val2017/000000522418.jpg", (), "validation"),
    ]
    assert {(ref.kind, ref.sketch_uri) for ref in refs} == {("image", "")}


def test_things_are_painted_over_stuff_once(tmp_path, listed, write):
    root = annotated(write, tmp_path / "coco", captions=CAPTIONS, instances=INSTANCES, stuff=STUFF)
    sketched, empty = listed("coco", root)
    assert empty.sketch_uri == ""
    labels = np.asarray(Image.open(sketched.sketch_uri))
    unknown = UNKNOWN_LABEL
    assert labels.tolist() == [
        [unknown, unknown, unknown, 1, 124, 124],
        [unknown, 4, 4, 1, 124, 124],
        [unknown, 4, 4, 1, 124, 124],
        [unknown, unknown, unknown, 1, 124, 124],
    ]
    written = (tmp_path / "store").rglob("*.png")
    times = {path: path.stat().st_mtime_ns for path in written}
    assert listed("coco", root)[0].sketch_uri == sketched.sketch_uri
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*.png")}


def test_other_annotations_are_painted_elsewhere(tmp_path, listed, write):
    root = annotated(write, tmp_path / "coco", instances=INSTANCES)
    before = listed("coco", root)[0].sketch_uri
    annotated(write, root, instances={**INSTANCES, "annotations": INSTANCES["annotations"][:1]})
    after = listed("coco", root)[0].sketch_uri
    assert before != after
    assert np.asarray(Image.open(before)).max() == np.asarray(Image.open(after)).max() == 4


def test_without_stuff_what_is_no_thing_is_background(tmp_path, listed, write):
    root = annotated(write, tmp_path / "coco", instances=INSTANCES)
    labels = np.asarray(Image.open(listed("coco", root)[0].sketch_uri))
    assert labels[:, :3].tolist() == [[0, 0, 0], [0, 4, 4], [0, 4, 4], [0, 0, 0]]


@pytest.mark.parametrize(
    "place",
    [
        "stuffthingmaps/train2017/000000391895.png",
        "stuffthingmaps/train2017/000000391895_labelTrainIds.png",
        "annotations/stuff_train2017_pixelmaps/000000391895.png",
    ],
)
def test_label_maps_that_coco_stuff_publishes_are_taken_as_they_are(tmp_path, listed, write, place):
    root = annotated(write, tmp_path / "coco", captions=CAPTIONS, instances=INSTANCES)
    write(root, {place: ""})
    assert [ref.sketch_uri for ref in listed("coco", root)] == [f"{root}/{place}", ""]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        pytest.param("captions_train2017", [], "has no 'annotations'", id="a list"),
        pytest.param(
            "captions_train2017",
            {"images": [], "annotations": [{"image_id": 1}]},
            "annotation 0, has no 'caption'",
            id="no caption",
        ),
        pytest.param("captions_minitest", {"annotations": []}, "no 'images'", id="no images"),
        pytest.param(
            "instances_train2017",
            {
                "images": IMAGES,
                "annotations": [
                    {"image_id": 391895, "category_id": 1, "segmentation": {"size": [1, 1]}}
                ],
            },
            "image 391895 of train2017 cannot be painted: a region is not a run-length",
            id="a broken region",
        ),
    ],
)
def test_annotations_that_are_wrong_are_refused_in_one_line(
    tmp_path, refused, write, name, data, said
):
    root = write(tmp_path / "coco", {f"annotations/{name}.json": json.dumps(data)})
    assert said in refused("coco", root)
