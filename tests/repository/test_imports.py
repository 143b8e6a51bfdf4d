import subprocess
import sys

import pytest

from flows.cli import FLOWS

PLANNING = [
    *("nuwa_model.config", "nuwa_model.presets", "nuwa_model.tasks", "nuwa_model.grid"),
    *("pipelines.config", "pipelines.artifacts", "pipelines.names", "pipelines.command"),
    *sorted({where.split(":")[0] for where, _ in FLOWS.values()}),
]


@pytest.mark.parametrize("module", PLANNING)
def test_planning_a_run_does_not_load_torch(module):
    check = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_help_loads_neither_prefect_nor_ray():
    check = (
        "import sys, contextlib\nfrom flows.cli import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "sys.exit(bool({'prefect', 'ray', 'torch'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", check], check=False, capture_output=True)
    assert ended.returncode == 0
