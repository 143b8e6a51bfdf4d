import os
from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from pipelines import storage
from pipelines.config import FetchConfig
from pipelines.datasets.base import SourceRef
from pipelines.datasets.catalog import Known, catalog_row, look_at
from pipelines.datasets.listings import Listings, version_ns
from pipelines.datasets.plan import Plan, make_plan
from pipelines.errors import StorageError
from pipelines.fetch import fetched_one
from pipelines.storage import Entry
from pipelines.video.clips import hash_source


def test_a_version_is_the_time_and_in_a_bucket_also_the_etag():
    second = 1_700_000_000 * 10**9
    assert version_ns([Entry(1, second + 5)]) == second + 5
    versions = [version_ns([Entry(1, second, etag)]) for etag in ("a", "b")]
    assert versions[0] != versions[1]
    assert {version // 10**9 for version in versions} == {second // 10**9}


def test_a_sketch_that_is_older_than_its_source_still_counts():
    source = Entry(1, 2_000_000_000, "a")
    assert version_ns([source, Entry(1, 0, "b")]) != version_ns([source, Entry(1, 0, "c")])


@pytest.fixture
def images(s3):
    """Two images of one size, and one that is larger."""
    for name, data in (("a.jpg", b"one"), ("b.jpg", b"two"), ("c.jpg", b"three")):
        storage.replace_bytes(f"{s3}/root/{name}", data)
    return [SourceRef(f"{s3}/root/{name}.jpg", "image") for name in "abc"]


def looked_at(refs):
    listings = Listings()
    return [look_at(ref, listings) for ref in refs]


def known(sources):
    catalog = {}
    for source in sources:
        with fetched_one(source.ref.uri, limits=FetchConfig()) as path:
            sha256 = hash_source(source.ref, path)
        counted = {"sha256": sha256, "frames_read": 1, "num_clips": 1, "frames_left": 0}
        catalog[source.uri] = catalog_row(source, "test", counted)
    return Known(catalog, {}, frozenset((uri, row["sha256"]) for uri, row in catalog.items()))


def names(sources):
    return [PurePosixPath(source.uri).name for source in sources]


def test_an_object_replaced_by_another_of_its_size_is_decoded_again(images):
    before = known(looked_at(images))
    assert not make_plan(looked_at(images), before)
    storage.replace_bytes(images[0].uri, b"uno")
    plan = make_plan(looked_at(images), before)
    assert names(plan.decode) == ["a.jpg"]
    assert plan.forget == {images[0].uri}


def test_a_folder_of_a_bucket_changes_with_each_file_in_it(s3):
    for number in range(3):
        storage.replace_bytes(f"{s3}/root/v/origin/{number}.png", b"frame")
        storage.replace_bytes(f"{s3}/root/v/mask/{number}.png", b"map")
    ref = SourceRef(f"{s3}/root/v/origin", "video", (), f"{s3}/root/v/mask", frame_rate="15")
    states = [looked_at([ref])[0].modified_ns]
    for place in (ref.uri, ref.sketch_uri):
        storage.replace_bytes(f"{place}/1.png", b"other")
        states.append(looked_at([ref])[0].modified_ns)
    storage.delete(f"{ref.uri}/2.png")
    states.append(looked_at([ref])[0].modified_ns)
    assert len(set(states)) == 4


def test_a_copy_of_an_object_is_found_by_one_hash_of_each(images, proxy, s3):
    before = known(looked_at(images))
    storage.replace_bytes(f"{s3}/root/twin.jpg", b"two")
    storage.replace_bytes(f"{s3}/root/other.jpg", b"owt")
    twin, other = (SourceRef(f"{s3}/root/{name}.jpg", "image") for name in ("twin", "other"))
    sources = looked_at([*images, twin, other])
    proxy.forget()
    plan = make_plan(sources, before)
    assert names(plan.decode) == ["other.jpg"]
    assert {owner: names(copies) for owner, copies in plan.copies.items()} == {
        images[1].uri: ["twin.jpg"]
    }
    assert [path.rsplit("/", 1)[1] for method, path in proxy.seen() if method == "GET"] == [
        "twin.jpg"
    ]


def test_an_object_from_before_buckets_were_looked_at_costs_a_hash(images):
    before = known([replace(source, size=0, modified_ns=0) for source in looked_at(images)])
    sources = looked_at(images)
    assert make_plan(sources, before) == Plan([], {}, frozenset(), sources)


def test_a_bucket_that_cannot_be_listed_is_asked_once_and_trusted(s3, proxy):
    refs = [SourceRef(f"s3://no-such-bucket/{name}/a.jpg", "image") for name in "xyz"]
    proxy.forget()
    assert [source.is_known for source in looked_at(refs)] == [False] * 3
    assert len(proxy.seen()) == 1
    with pytest.raises(StorageError, match="no such bucket"):
        Listings().is_dir("s3://no-such-bucket/x")


def test_addresses_are_never_asked_for():
    (source,) = looked_at([SourceRef("https://example.invalid/a.mp4", "video")])
    assert (source.size, source.modified_ns, source.is_known) == (0, 0, False)


def test_a_folder_is_as_new_as_the_newest_file_in_it(tmp_path):
    for name in ("0.png", "1.png"):
        (tmp_path / name).write_bytes(b"1")
    before = Listings().entry(str(tmp_path))
    os.utime(tmp_path / "1.png", ns=(0, before.modified_ns + 7))
    assert Listings().entry(str(tmp_path)).modified_ns == before.modified_ns + 7
