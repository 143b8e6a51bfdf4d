import subprocess
import sys

import pytest

from flows.cli import FLOWS

PLANNING = [
    *("nuwa_model.config", "nuwa_model.presets", "nuwa_model.tasks", "nuwa_model.grid"),
    *("pipelines.config", "pipelines.artifacts", "pipelines.names", "pipelines.command"),
    "flows.cli",
]
ORCHESTRATION = sorted({where.split(":")[0] for where, _ in FLOWS.values()})

IMPORT_EACH = """
import sys
from importlib import import_module
*modules, unwanted = sys.argv[1:]
for module in modules:
    import_module(module)
    found = set(unwanted.split(",")) & set(sys.modules)
    if found:
        sys.exit(f"{module} loads {found}")
"""


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        pytest.param(PLANNING, "torch,ray,prefect,deepspeed", id="planning"),
        pytest.param(ORCHESTRATION, "torch,deepspeed,pipelines.jobs", id="orchestration"),
    ],
)
def test_what_plans_a_run_does_not_load_what_runs_it(modules, unwanted):
    command = [sys.executable, "-c", IMPORT_EACH, *modules, unwanted]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
