import os
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.datasets.base import SourceRef
from pipelines.datasets.catalog import Known, catalog_row, look_at, summarize
from pipelines.datasets.plan import Plan, make_plan
from pipelines.video.clips import hash_file

NOTHING = Known({}, {}, frozenset())


@pytest.fixture
def sources(tmp_path):
    """Three videos of which the first two have the same size."""
    for name, text in (("a.mp4", "one"), ("b.mp4", "two"), ("c.mp4", "three")):
        (tmp_path / name).write_text(text)
    return [look_at(ref(tmp_path / name)) for name in ("a.mp4", "b.mp4", "c.mp4")]


def ref(path, **more):
    return SourceRef(uri=str(path), kind="video", **more)


def row(source, **counted):
    defaults = {"frames_read": 10, "num_clips": 1, "frames_left": 0}
    sha256 = hash_file(source.ref.uri)
    return catalog_row(source, "test", {"sha256": sha256, **defaults, **counted})


def written(source, text):
    """The source after its file was written again, an hour later."""
    Path(source.ref.uri).write_text(text)
    later = source.modified_ns + 3600 * 10**9
    os.utime(source.ref.uri, ns=(later, later))
    return look_at(source.ref)


def error(source, code="decode_errors", is_transient=False):
    return {"source_uri": source.ref.uri, "code": code, "is_transient": is_transient, "detail": ""}


def known(sources, errors=()):
    failed = {e["source_uri"]: e for e in errors}
    rows = {s.ref.uri: row(s) for s in sources}
    clips = {(uri, r["sha256"]) for uri, r in rows.items() if uri not in failed}
    return Known(rows, failed, frozenset(clips))


def names(sources):
    return [Path(source.ref.uri).name for source in sources]


def test_what_is_new_is_decoded(sources):
    plan = make_plan(sources, NOTHING)
    assert names(plan.decode) == ["a.mp4", "b.mp4", "c.mp4"]
    assert not plan.copies
    assert not plan.forget


def test_nothing_new_leaves_nothing_to_do(sources):
    plan = make_plan(sources, known(sources))
    assert plan == Plan(decode=[], copies={}, forget=frozenset(), retell=[])


def test_what_changed_is_forgotten_and_decoded_again(sources):
    before = known(sources)
    changed = written(sources[1], "new")
    plan = make_plan([sources[0], changed, sources[2]], before)
    assert names(plan.decode) == ["b.mp4"]
    assert plan.forget == {changed.ref.uri}


def test_what_was_written_again_with_the_same_bytes_is_only_told_again(sources):
    before = known(sources)
    touched = written(sources[1], "two")
    plan = make_plan([sources[0], touched, sources[2]], before)
    assert plan == Plan(decode=[], copies={}, forget=frozenset(), retell=[touched])
    after = replace(before, catalog={**before.catalog, touched.uri: row(touched)})
    assert not make_plan([sources[0], touched, sources[2]], after)


def test_of_a_source_and_its_sketch_nobody_knows_which_was_written(tmp_path, sources):
    (tmp_path / "map.png").write_text("")
    sketched = look_at(replace(sources[1].ref, sketch_uri=str(tmp_path / "map.png")))
    before = known([sketched])
    assert names(make_plan([written(sketched, "two")], before).decode) == ["b.mp4"]


def test_what_could_not_be_looked_at_is_trusted(sources):
    unlisted = [replace(s, size=0, modified_ns=0, is_known=False) for s in sources]
    assert not make_plan(unlisted, known(sources))


def test_size_and_time_are_trusted_unless_content_is_to_be_verified(sources):
    before = known(sources)
    Path(sources[0].ref.uri).write_text("eno")
    assert not make_plan(sources, before).decode
    assert names(make_plan(sources, before, verify_content=True).decode) == ["a.mp4"]


@pytest.mark.parametrize(
    ("code", "is_transient", "again"),
    [("timeout", True, True), ("bad_sketch", False, False), ("decode_errors", False, False)],
)
def test_errors_that_another_try_may_cure_are_tried_again(sources, code, is_transient, again):
    plan = make_plan(sources, known(sources, [error(sources[0], code, is_transient)]))
    assert names(plan.decode) == (["a.mp4"] if again else [])
    assert plan.forget == ({sources[0].ref.uri} if again else set())


def test_a_retry_touches_nothing_but_what_failed(sources):
    before = known(sources[:2], [error(sources[0])])
    plan = make_plan(sources, before, retry_errors=True)
    assert names(plan.decode) == ["a.mp4"]
    assert plan.forget == {sources[0].uri}
    assert not plan.retell


def test_what_vanished_is_marked_once_and_unmarked_when_it_is_back(sources):
    before = known(sources)
    plan = make_plan(sources[1:], before)
    assert plan == Plan([], {}, frozenset(), [], frozenset({sources[0].uri}))
    before.catalog[sources[0].uri]["is_gone"] = True
    assert not make_plan(sources[1:], before)
    assert names(make_plan(sources, before).retell) == ["a.mp4"]


def test_two_spans_of_one_file_are_two_sources(sources):
    spans = [
        look_at(replace(sources[0].ref, span_us=(start, start + 2_000_000)))
        for start in (0, 1_000_000)
    ]
    plan = make_plan(spans, NOTHING)
    assert [source.uri[-6:] for source in plan.decode] == ["#t=0,2", "#t=1,3"]
    assert not plan.copies


def test_clips_without_a_catalog_row_were_left_by_a_run_that_died(sources):
    half = known(sources[:1])
    died = Known({}, {}, half.clips)
    plan = make_plan(sources, died)
    assert names(plan.decode) == ["a.mp4", "b.mp4", "c.mp4"]
    assert plan.forget == {sources[0].ref.uri}


def test_clips_that_were_lost_are_made_again(sources):
    before = known(sources)
    lost = Known(before.catalog, {}, frozenset(c for c in before.clips if "b.mp4" not in c[0]))
    plan = make_plan(sources, lost)
    assert names(plan.decode) == ["b.mp4"]
    assert plan.forget == {sources[1].ref.uri}


def test_another_caption_or_split_costs_no_decoding(sources):
    before = known(sources)
    told = replace(sources[0], ref=replace(sources[0].ref, text=("a dog",), split="validation"))
    plan = make_plan([told, *sources[1:]], before)
    assert plan == Plan(decode=[], copies={}, forget=frozenset(), retell=[told])


def test_of_equal_files_one_is_decoded(tmp_path, sources):
    (tmp_path / "z.mp4").write_text("one")
    copy = look_at(ref(tmp_path / "z.mp4"))
    plan = make_plan([*sources, copy], NOTHING)
    assert names(plan.decode) == ["a.mp4", "b.mp4", "c.mp4"]
    assert plan.copies == {sources[0].ref.uri: [copy]}
    later = make_plan([*sources, copy], known(sources))
    assert not later.decode
    assert later.copies == {sources[0].ref.uri: [copy]}


def test_when_a_file_changes_its_copy_is_decoded_in_its_place(tmp_path, sources):
    (tmp_path / "z.mp4").write_text("one")
    copy = look_at(ref(tmp_path / "z.mp4"))
    before = known(sources)
    before.catalog[copy.ref.uri] = row(copy)
    Path(sources[0].ref.uri).write_text("another")
    plan = make_plan([look_at(sources[0].ref), *sources[1:], copy], before)
    assert names(plan.decode) == ["a.mp4", "z.mp4"]


def test_a_new_sketch_makes_a_source_new(tmp_path, sources):
    (tmp_path / "maps").mkdir()
    with_sketch = look_at(replace(sources[0].ref, sketch_uri=str(tmp_path / "maps")))
    assert names(make_plan([with_sketch, *sources[1:]], known(sources)).decode) == ["a.mp4"]


def test_the_summary_accounts_for_every_source(sources):
    before = known(sources, [error(sources[2])])
    before.catalog[sources[1].ref.uri]["frames_read"] = 3
    record = summarize(sources, before, num_frames=10)
    assert record["summary"] == (
        "3 sources: 2 with clips (2 clips, 1 short), 1 error (c.mp4: decode_errors)"
    )
    assert record["errors"] == {"decode_errors": 1}


def test_a_source_that_is_gone_is_mentioned(sources):
    record = summarize(sources[:2], known(sources), num_frames=10)
    assert record["summary"].endswith("0 errors; 1 earlier source no longer there, clips kept")
