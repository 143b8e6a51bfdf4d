"""The job on sources in a bucket, before a real server on this machine."""

import io
import json
from pathlib import Path

import pytest
import ray
from PIL import Image

from pipelines import storage
from pipelines.jobs.decode_clips import decode_clips
from pipelines.settings import load_config
from pipelines.storage.s3_client import client
from pipelines.store.table import StoreTable
from pipelines.store.verify import verify_store
from tests.pipelines.video.media import clouds, counting, write_map
from tests.s3 import KEYS

OF_PLACE = {
    "clips": [],
    "errors": ["source_sha256"],
    "catalog": ["size", "modified_ns", "sha256"],
}
"""Tables, and columns that differ in a bucket; what fails there is not hashed."""


@pytest.fixture(scope="module", autouse=True)
def cluster(s3_server):
    """A small Ray whose workers know the server of every ``s3``."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": s3_server}.items():
            patch.setenv(name, value)
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


def run(name, root, store, *more):
    overrides = (f"dataset.name={name}", f"dataset.root={root}", f"store={store}", *more)
    return decode_clips(load_config(overrides=overrides))


def bitmap(path, shade):
    """A picture whose file is as large as every other's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), (shade, 0, 0)).save(path)
    return path


def shade_of(store, name):
    rows = StoreTable(store, "clips").read(["source_uri", "frames"]).to_pylist()
    (frame,) = (row["frames"][0] for row in rows if row["source_uri"].endswith(name))
    return Image.open(io.BytesIO(frame)).getpixel((5, 5))[0]


def versions(store):
    return {name: StoreTable(store, name).version() for name in ("clips", "catalog")}


def upload(folder, root):
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            storage.upload(path, f"{root}/{path.relative_to(folder)}")
    return root


def test_only_what_was_replaced_in_a_bucket_is_decoded_again(s3, proxy, tmp_path):
    store, root = str(tmp_path / "store"), f"{s3}/root"
    for index, name in enumerate(("a.bmp", "b.bmp", "c.bmp")):
        storage.upload(bitmap(tmp_path / name, 50 * index), f"{root}/{name}")
    assert run("folder", root, store)["decoded"] == 3
    before = versions(store)

    proxy.forget()
    record = run("folder", root, store)
    assert (record["decoded"], record["was_complete"]) == (0, True)
    assert versions(store) == before
    assert len(proxy.seen()) == 1  # the listing

    storage.upload(bitmap(tmp_path / "b.bmp", 250), f"{root}/b.bmp")
    assert run("folder", root, store)["decoded"] == 1
    assert shade_of(store, "b.bmp") == pytest.approx(250, abs=3)
    assert shade_of(store, "c.bmp") == pytest.approx(100, abs=3)
    assert verify_store(store) == []
    assert run("folder", root, store)["was_complete"]


def test_what_is_uploaded_again_costs_a_hash_and_is_not_decoded(s3, proxy, tmp_path):
    store, root = str(tmp_path / "store"), f"{s3}/root"
    for name in ("a.bmp", "b.bmp"):
        storage.upload(bitmap(tmp_path / name, len(name)), f"{root}/{name}")
    run("folder", root, store)
    before = versions(store)
    # As parts, and so under another ETag: as a tool of other settings uploads it.
    upload_as_parts(f"{root}/a.bmp", (tmp_path / "a.bmp").read_bytes())
    proxy.forget()
    assert run("folder", root, store)["decoded"] == 0
    read = [path for method, path in proxy.seen() if method == "GET" and "list-type" not in path]
    assert [path.rsplit("/", 1)[1] for path in read] == ["a.bmp"]
    assert versions(store)["clips"] == before["clips"]
    assert run("folder", root, store)["was_complete"]
    assert verify_store(store) == []


def test_clips_of_a_bucket_are_those_of_the_folder(s3, tmp_path):
    folder = tmp_path / "folder"
    sketched(folder)
    record = run("folder", folder, str(tmp_path / "here"))
    assert (record["with_clips"], record["errors"]) == (2, {"bad_sketch": 1})
    root = upload(folder, f"{s3}/root")
    assert run("folder", root, str(tmp_path / "there")) == record
    assert rows(tmp_path / "there", root) == rows(tmp_path / "here", folder)


def test_videos_kept_as_frames_in_a_bucket_are_those_of_the_folder(s3, tmp_path):
    folder = tmp_path / "vspw"
    for index in range(15):
        frame = clouds(64, 48) // 20 * (index + 1)
        place = folder / f"data/v/origin/{index:05d}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(frame).save(place)
        write_map(folder / f"data/v/mask/{index:05d}.png", index)
    (folder / "train.txt").write_text("v\nmissing\n")
    record = run("vspw", folder, str(tmp_path / "here"))
    assert (record["with_clips"], record["errors"]) == (1, {"io_error": 1})
    root = upload(folder, f"{s3}/root")
    assert run("vspw", root, str(tmp_path / "there")) == record
    assert rows(tmp_path / "there", root)["clips"] == rows(tmp_path / "here", folder)["clips"]


def test_label_maps_painted_into_a_bucket_become_sketches(s3, tmp_path):
    write_coco(tmp_path / "coco")
    run("coco", tmp_path / "coco", f"{s3}/store")
    kinds = StoreTable(f"{s3}/store", "clips").read(["kind"]).column("kind").to_pylist()
    assert sorted(kinds) == ["image", "image_sketch"]
    assert run("coco", tmp_path / "coco", f"{s3}/store")["was_complete"]


def upload_as_parts(uri, data):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    where = {"Bucket": bucket, "Key": key}
    begun = client().create_multipart_upload(**where)
    where["UploadId"] = begun["UploadId"]
    part = client().upload_part(**where, PartNumber=1, Body=data)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    client().complete_multipart_upload(**where, MultipartUpload=parts)


def sketched(folder):
    """A video and an image with sketches, and an image whose sketch is not of its shape."""
    folder.mkdir()
    counting(folder / "v.mp4", rate=5, seconds=4)
    for index in range(20):
        write_map(folder / f"sketches/v/{index:03d}.png", index)
    Image.fromarray(clouds(64, 48)).save(folder / "a.png")
    write_map(folder / "sketches/a.png", 7)
    Image.fromarray(clouds(48, 64)).save(folder / "b.png")
    write_map(folder / "sketches/b.png", 7)
    lines = [{"file": "v.mp4", "text": ["one", "two"]}, {"file": "a.png", "split": "validation"}]
    (folder / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))


def write_coco(folder):
    Path(folder, "train2017").mkdir(parents=True)
    Image.fromarray(clouds(64, 48)).save(folder / "train2017/1.png")
    region = {"image_id": 1, "category_id": 4, "segmentation": [[8, 8, 40, 8, 40, 40, 8, 40]]}
    images = [{"id": 1, "file_name": "1.png", "height": 48, "width": 64}]
    (folder / "annotations").mkdir()
    (folder / "annotations/instances_train2017.json").write_text(
        json.dumps({"images": images, "annotations": [region]})
    )


def rows(store, root):
    """Everything the store holds, less when it was made and where its sources lie."""
    found = {}
    for name in OF_PLACE:
        told = StoreTable(str(store), name).read().drop_columns(OF_PLACE[name]).to_pylist()
        found[name] = sorted(repr(row).replace(str(root), "ROOT") for row in told)
    return found
