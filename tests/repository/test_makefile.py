import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import ROOT

TARGETS = [
    *("help", "setup", "demo", "demo-full", "test", "test-long", "check"),
    *("format", "bench", "peers", "up", "down", "clean"),
]


def make(*arguments):
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_help_lists_every_target():
    assert re.findall(r"^  make ([a-z-]+) ", make("help"), flags=re.MULTILINE) == TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_can_be_planned(target):
    assert make("--dry-run", target)


def test_clean_touches_no_store():
    planned = make("--dry-run", "clean")
    assert not re.search(r"rm[^\n]* (demo|runs|store|\.services)\b", planned)


def test_an_old_python_is_refused_in_one_line(tmp_path):
    old = "import sys; sys.version_info = (3, 10, 4); sys.argv = ['setup', 'v', 's']; "
    run = f"import runpy; runpy.run_path({str(ROOT / 'infra/setup.py')!r}, run_name='__main__')"
    ended = subprocess.run(
        [sys.executable, "-c", old + run], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert re.fullmatch(r"error: Python 3\.11[^\n]*\n", ended.stderr)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def project(tmp_path):
    """A project that locks nothing and needs no index, set up by our own program."""
    infra = tmp_path / "infra"
    infra.mkdir()
    (infra / "setup.py").write_text((ROOT / "infra/setup.py").read_text())
    (tmp_path / "requirements.lock").touch()
    (tmp_path / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "empty"\nversion = "1"\n'
    )
    (tmp_path / "backend.py").write_text(BACKEND)
    return tmp_path


BACKEND = """
import zipfile

FILES = {
    "METADATA": "Metadata-Version: 2.1\\nName: empty\\nVersion: 1\\n",
    "WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    "RECORD": "",
}


def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "empty-1-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        for file, text in FILES.items():
            wheel.writestr(f"empty-1.dist-info/{file}", text)
    return name
"""


def set_up(project, stamp=".venv/.installed-1"):
    command = [sys.executable, "infra/setup.py", ".venv", stamp]
    ended = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_two_set_ups_at_once_install_once(project):
    with ThreadPoolExecutor(2) as pool:
        said = list(pool.map(set_up, [project, project]))
    assert sorted(map(bool, said)) == [False, True]
    assert (project / ".venv/.installed-1").exists()


@pytest.mark.slow
def test_what_an_interrupted_set_up_left_is_thrown_away(project):
    set_up(project)
    leftover = project / ".venv/leftover"
    leftover.touch()
    set_up(project, ".venv/.installed-2")
    assert leftover.exists()
    (project / ".venv/.unfinished").touch()
    set_up(project, ".venv/.installed-3")
    assert not leftover.exists()
    assert [path.name for path in (project / ".venv").glob(".installed-*")] == [".installed-3"]
