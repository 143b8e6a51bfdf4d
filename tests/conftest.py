"""What every test may use."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.media_server import server  # noqa: F401 (a fixture)
from tests.s3 import place, proxy, s3, s3_server  # noqa: F401 (fixtures)

ROOT = Path(__file__).parent.parent

os.environ.update(
    {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
)
# On a busy machine drawing examples takes as long as it takes: that says nothing of the code.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

# A test must not join what the person running it has up.
for _name in ("PREFECT_API_URL", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
    os.environ.pop(_name, None)


def pytest_addoption(parser):
    what = "record the losses of training anew, where a change of them is meant"
    parser.addoption("--write-golden", action="store_true", help=what)


def pytest_collection_modifyitems(items):
    """What needs an S3 server takes seconds each: it runs with the slow tests."""
    for item in items:
        params = getattr(getattr(item, "callspec", None), "params", {})
        if "s3_server" in item.fixturenames or params.get("place") == "s3":
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def media():
    """Folder of real clips and photos, named by NUWA_TEST_MEDIA."""
    folder = os.environ.get("NUWA_TEST_MEDIA", "")
    if not folder:
        pytest.skip("NUWA_TEST_MEDIA names no folder of real clips and photos")
    return Path(folder)


@pytest.fixture(scope="session")
def root():
    """Folder of the repository."""
    return ROOT
