import json
import re
from pathlib import Path

import pytest

from pipelines.datasets import list_sources
from pipelines.datasets.folder import split_of
from pipelines.errors import SourceError
from pipelines.settings import load_config


def listed(root, *more):
    overrides = ("dataset.name=folder", f"dataset.root={root}", *more)
    return list(list_sources(load_config(overrides=overrides)))


def refused(root):
    with pytest.raises(SourceError) as told:
        listed(root)
    assert "\n" not in str(told.value)
    return str(told.value)


def fill(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def texts(root):
    return {ref.uri.removeprefix(f"{root}/"): ref.text for ref in listed(root)}


def test_videos_and_images_are_listed_in_order_and_nothing_else_is(tmp_path):
    fill(tmp_path, "b.mp4", "a/z.MOV", "a/y.jpg", "readme.md", ".hidden.mp4", ".git/x.mp4")
    assert [(ref.uri, ref.kind) for ref in listed(tmp_path)] == [
        (f"{tmp_path}/a/y.jpg", "image"),
        (f"{tmp_path}/a/z.MOV", "video"),
        (f"{tmp_path}/b.mp4", "video"),
    ]


def test_what_is_left_alone_is_counted(tmp_path, caplog):
    for name in ("a.mp4", "b.heic", "c.heic", "list.m3u8", "a.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    assert [Path(ref.uri).name for ref in listed(tmp_path)] == ["a.mp4"]
    assert ".heic (2), .m3u8 (1)" in caplog.text
    assert "links to folders or to nothing, and devices (1)" in caplog.text


def test_a_name_of_255_bytes_is_only_a_name(tmp_path):
    name = "a" * 252 + ".ts"
    (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sketches").mkdir()
    assert [Path(ref.uri).name for ref in listed(tmp_path)] == [name]


def test_odd_names_are_only_names(tmp_path):
    names = ["-x.mp4", "a b.mp4", "it's.mp4", "ñandú 鳥.mp4", "über/#1 %d.mp4"]
    assert list(texts(fill(tmp_path, *names))) == sorted(names)


def test_a_name_that_is_no_text_is_refused(tmp_path):
    for name in ("caf\udce9.mp4", "\udcff.jpg", "fine.mp4"):
        (tmp_path / name).write_bytes(b"")
    assert "not UTF-8: 'caf\\udce9.mp4', '\\udcff.jpg'; rename the files" in refused(tmp_path)


def test_captions_lie_beside_the_files_one_a_line(tmp_path):
    fill(tmp_path, "a.mp4", "b.mp4", "c/d.jpg")
    (tmp_path / "a.txt").write_text("one\n\n two \n")
    (tmp_path / "c/d.txt").write_text("drei Vögel")
    assert texts(tmp_path) == {"a.mp4": ("one", "two"), "b.mp4": (), "c/d.jpg": ("drei Vögel",)}


def test_the_suffix_of_a_caption_may_be_in_capitals(tmp_path):
    fill(tmp_path, "a.MP4")
    (tmp_path / "a.TXT").write_text("one")
    assert texts(tmp_path) == {"a.MP4": ("one",)}


def test_captions_of_nothing_are_named(tmp_path, caplog):
    fill(tmp_path, "a.mp4", "a.txt", "b.txt", "sub/captions.csv", "c.jpg")
    assert texts(tmp_path) == {"a.mp4": (), "c.jpg": ()}
    assert "captions_unused files=b.txt, sub/captions.csv (" in caplog.text


def test_captions_that_are_all_used_need_no_word(tmp_path, caplog):
    fill(tmp_path, "a.mp4", "b.jpg")
    (tmp_path / "captions.csv").write_text("file,text\na.mp4,one\n")
    assert texts(tmp_path) == {"a.mp4": ("one",), "b.jpg": ()}
    assert not caplog.text


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("captions.csv", "file,text,spilt\na.mp4,one,validation\n"),
        ("captions.jsonl", '{"file": "a.mp4", "text": "one", "spilt": "validation"}\n'),
    ],
)
def test_what_is_not_read_of_a_table_is_named(tmp_path, caplog, name, table):
    fill(tmp_path, "a.mp4")
    (tmp_path / name).write_text(table)
    assert texts(tmp_path) == {"a.mp4": ("one",)}
    assert f"{name} columns=spilt (" in caplog.text


def test_half_a_character_is_refused(tmp_path):
    fill(tmp_path, "a.mp4")
    (tmp_path / "captions.jsonl").write_text('{"file": "a.mp4", "text": "x\\ud800"}\n')
    assert "captions.jsonl, line 1, has 'x\\ud800', half a character" in refused(tmp_path)


def test_captions_come_from_a_table(tmp_path):
    fill(tmp_path, "a.mp4", "sub/b c.mp4", "d.mp4")
    (tmp_path / "captions.csv").write_text(
        'file,text,split\na.mp4,"one, two",validation\nsub/b c.mp4,three,\na.mp4,four,\n'
    )
    assert texts(tmp_path) == {
        "a.mp4": ("one, two", "four"),
        "d.mp4": (),
        "sub/b c.mp4": ("three",),
    }
    assert [ref.split for ref in listed(tmp_path)] == ["validation", "train", "train"]


def test_a_table_from_a_spreadsheet_program_is_read(tmp_path):
    fill(tmp_path, "a.mp4")
    (tmp_path / "captions.csv").write_bytes("\ufefffile,text\r\na.mp4,Ärger\r\n".encode())
    assert texts(tmp_path) == {"a.mp4": ("Ärger",)}


def test_captions_come_from_json_lines(tmp_path):
    fill(tmp_path, "a.mp4", "b.mp4")
    lines = [
        {"file": "a.mp4", "text": ["one", "two"], "split": "validation"},
        {"file": "b.mp4", "text": "three"},
    ]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    assert texts(tmp_path) == {"a.mp4": ("one", "two"), "b.mp4": ("three",)}


def test_sketches_lie_in_a_parallel_folder_and_are_no_sources(tmp_path):
    fill(tmp_path, "a/b.jpg", "a/v.mp4", "c.jpg", "sketches/a/b.png", "sketches/a/v/000.png")
    found = {ref.uri: ref.sketch_uri for ref in listed(tmp_path)}
    assert found == {
        f"{tmp_path}/a/b.jpg": f"{tmp_path}/sketches/a/b.png",
        f"{tmp_path}/a/v.mp4": f"{tmp_path}/sketches/a/v",
        f"{tmp_path}/c.jpg": "",
    }


def test_the_split_is_a_stable_share_of_the_paths():
    names = [f"videos/{index}.mp4" for index in range(2000)]
    chosen = {name for name in names if split_of(name, 0.25) == "validation"}
    assert len(chosen) == pytest.approx(500, abs=60)
    assert chosen < {name for name in names if split_of(name, 0.5) == "validation"}
    assert {split_of(name, 0.0) for name in names} == {"train"}
    assert {split_of(name, 1.0) for name in names} == {"validation"}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        pytest.param(None, r"There is no folder .* set dataset\.root", id="missing"),
        pytest.param({}, r"has no videos or images; files that count end in \.mp4", id="empty"),
        pytest.param(
            {"captions.csv": "file,text\nb.mp4,x\n"},
            r"captions\.csv, line 2, names 'b\.mp4', but .* has no such video",
            id="captions of nothing",
        ),
        pytest.param(
            {"captions.csv": "name,caption\na.mp4,x\n"},
            r"begins with the columns name, caption; expected at least file, text, each once",
            id="other columns",
        ),
        pytest.param(
            {"captions.csv": "file;text\na.mp4;x\n"},
            r"begins with the columns file;text; expected .* with commas between them",
            id="semicolons",
        ),
        pytest.param(
            {"captions.csv": "file,text,text\na.mp4,x,y\n"},
            r"begins with the columns file, text, text; expected at least file, text, each once",
            id="a column twice",
        ),
        pytest.param(
            {"captions.csv": "file,text\na.mp4\n"},
            r"captions\.csv, line 2, has 1 fields; expected 2",
            id="a field that is missing",
        ),
        pytest.param(
            {"captions.csv": 'file,text\na.mp4,x\na.mp4,"y\na.mp4,z\n'},
            r"captions\.csv, line 3, is not CSV",
            id="a quote that nobody closes",
        ),
        pytest.param(
            {"captions.csv": "file,text,split\na.mp4,x,test\n"},
            r"split 'test'; expected train or validation",
            id="unknown split",
        ),
        pytest.param(
            {"captions.csv": "file,text,split\na.mp4,x,train\na.mp4,y,validation\n"},
            r"puts 'a\.mp4' into validation, another line train",
            id="two splits",
        ),
        pytest.param(
            {"captions.csv": "file,text\n", "captions.jsonl": ""},
            r"captions in captions\.csv and in captions\.jsonl; keep one",
            id="two tables",
        ),
        pytest.param(
            {"captions.csv": "file,text\n", "a.txt": "x"},
            r"captions in captions\.csv and in a\.txt; keep one",
            id="a table and files beside",
        ),
        pytest.param({"captions.jsonl": "{"}, r"line 1, is not JSON", id="broken line"),
        pytest.param({"captions.jsonl": '["a.mp4"]'}, r"line 1, names no file", id="no object"),
        pytest.param(
            {"captions.jsonl": '{"file": "a.mp4", "text": 7}'},
            r"text that is no string",
            id="number",
        ),
        pytest.param({"a.txt": b"\xff\xfe\x00"}, r"a\.txt is not UTF-8", id="not UTF-8"),
    ],
)
def test_a_folder_that_is_wrong_is_refused_in_one_line(tmp_path, files, said):
    root = tmp_path / "root"
    if files is not None:
        root.mkdir()
        if files:
            fill(root, "a.mp4")
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            (root / name).write_bytes(data)
    assert re.search(said, refused(root))


def test_an_unknown_data_set_is_refused_with_the_nearest_name():
    config = load_config(overrides=["dataset.name=moving_shape"])
    with pytest.raises(Exception, match="Did you mean 'moving_shapes'"):
        list(list_sources(config))
