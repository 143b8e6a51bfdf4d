import json
import os
import subprocess
import sys

import pytest
from prefect.testing.utilities import prefect_test_harness

from flows import cluster

SMALL = ("dataset.shapes.num_train=2", "dataset.shapes.num_validation=1", "clips.num_workers=1")


@pytest.fixture(scope="session")
def prefect():
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def local_head():
    cluster.start_head_early()
    yield
    cluster.stop_head()


@pytest.fixture
def small(tmp_path):
    """Settings of a run that takes seconds, in a store of its own."""
    return (*SMALL, f"store={tmp_path / 'store'}")


@pytest.fixture
def nuwa(tmp_path_factory):
    """Run the console script; the answer has ``returncode``, ``stdout`` and ``stderr``."""
    home = tmp_path_factory.getbasetemp() / "prefect"

    def run(*arguments, timeout=240):
        command = [sys.executable, "-c", "from flows.cli import main; main()", *arguments]
        environment = {**os.environ, "PREFECT_HOME": str(home)}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run


@pytest.fixture
def read_record():
    def read(store, job):
        return json.loads((store / "records" / f"{job}.json").read_text())

    return read
