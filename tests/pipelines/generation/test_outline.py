import json

import pytest

from nuwa_model.errors import WeightsError
from nuwa_model.grid import Grid
from nuwa_model.tasks import get_task
from pipelines import artifacts
from pipelines.errors import ArtifactError
from pipelines.generation.outline import Found, export_folder, read_outline
from tests.pipelines.generation.small_export import FACTOR, NUM_CLASSES, SIZE, make_export


@pytest.fixture(scope="module")
def folder(export, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports") / "mine"
    export.save(folder)
    return folder


def test_a_folder_tells_its_shape_and_its_fingerprints(folder, export):
    found = read_outline(Found(folder, "mine"))
    assert (found.name, found.size, found.factor) == ("mine", SIZE, FACTOR)
    assert found.num_classes == NUM_CLASSES
    assert found.fingerprints["vqgan"] == export.frames.fingerprint
    assert (found.grid_of(get_task("T2I")), found.grid_of(get_task("T2V")).s) == (Grid(1, 4, 4), 3)


def test_without_sketches_there_are_no_classes(tmp_path):
    make_export(has_sketches=False).save(tmp_path)
    assert read_outline(Found(tmp_path, "mine")).num_classes == 0


def test_an_artifact_has_its_name_and_lies_anywhere(folder, place):
    made = artifacts.publish(str(place), "export", "a-name", folder, config={}, metadata={})
    with export_folder(made.uri) as found:
        assert read_outline(found).name == "a-name"


def test_what_is_no_export_is_refused_in_one_line(folder, tmp_path):
    with (
        pytest.raises(ArtifactError, match="nowhere is no folder"),
        export_folder(str(tmp_path / "nowhere")),
    ):
        pass
    broken = tmp_path / "broken"
    make_export().save(broken)
    settings = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**settings, "target_grid": 3}))
    for place in (tmp_path, folder / "vqgan", broken):
        with pytest.raises(WeightsError, match="is no export") as caught:
            read_outline(Found(place, "mine"))
        assert "\n" not in str(caught.value)
    (broken / "config.json").unlink()
    with pytest.raises(WeightsError, match=str(broken / "config.json")):
        read_outline(Found(broken, "mine"))
    made = artifacts.publish(str(tmp_path), "vqgan", "x", folder / "vqgan", config={}, metadata={})
    with pytest.raises(ArtifactError, match="is of kind vqgan"), export_folder(made.uri):
        pass
