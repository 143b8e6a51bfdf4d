import pytest

from pipelines.presets import RUN_PRESETS, load_config
from tests.conftest import ROOT


@pytest.mark.parametrize("path", sorted((ROOT / "infra/runs").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_shipped_run_file_loads(path):
    load_config(str(path))


@pytest.mark.parametrize("preset", RUN_PRESETS)
def test_a_preset_loads(preset):
    assert load_config(preset=preset) == RUN_PRESETS[preset]
