import pytest

from tests.pipelines.generation.small_export import make_export


@pytest.fixture(scope="session")
def export():
    return make_export()
