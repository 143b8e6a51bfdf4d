"""Make the virtual environment of the Makefile: `python infra/setup.py FOLDER STAMP`.

Standard library only, because it runs before anything is installed. Whoever comes second waits
for the first; what an interrupted run left is thrown away, because pip takes a package that was
half written for an installed one.
"""

import fcntl
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Bring the environment up to the lock file, unless it is."""
    folder, stamp = Path(sys.argv[1]), Path(sys.argv[2])
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        sys.exit(f"error: Python 3.11 to 3.13 is needed, but {sys.executable} is {sys.version[:6]}")
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists():
            stamp.touch()  # make compares times
        else:
            _install(folder, stamp)


def _install(folder: Path, stamp: Path) -> None:
    """Create or renew the environment; the stamp says that it was finished."""
    unfinished = folder / ".unfinished"
    print(f"Installing locked versions into {folder} (once; a few minutes)", flush=True)
    is_whole = (folder / "bin/python").exists() and not unfinished.exists()
    try:
        venv.create(folder, clear=not is_whole, with_pip=True, symlinks=True)
    except subprocess.CalledProcessError:
        sys.exit(f"error: {sys.executable} has no pip to give: install its venv package.")
    unfinished.touch()
    lock = ROOT / "requirements.lock"
    locked = [line for line in lock.read_text().splitlines() if line and line[0] not in "#-"]
    # pip unpacks on one processor; without dependencies no two write the same files.
    halves = [half for half in (locked[::2], locked[1::2]) if half]
    _pip(folder, *(["--no-deps", "--no-compile", *half] for half in halves))
    # What this machine's builds want beside the lock, such as the libraries of a CUDA build.
    _pip(folder, ["-r", str(lock)])
    _pip(folder, ["--no-deps", "--editable", str(ROOT)])
    for earlier in folder.glob(".installed-*"):
        earlier.unlink()
    unfinished.unlink()
    stamp.touch()


def _pip(folder: Path, *arguments: Sequence[str]) -> None:
    """Run ``pip install`` with each of these lists of arguments, all at once."""
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check"]
    running = [subprocess.Popen([*pip, "--quiet", *each]) for each in arguments]
    try:
        codes = [process.wait() for process in running]
    finally:  # interrupted: whoever holds the lock next must find nobody writing
        for process in running:
            process.kill()
            process.wait()
    if any(codes):
        sys.exit("error: pip could not install the locked versions; its own words are above.")


if __name__ == "__main__":
    main()
