import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import ffmpeg as builder
import pytest

from nuwa_model.errors import ConfigError
from pipelines.video import ffmpeg


def endless():
    """An output that ffmpeg never finishes."""
    return builder.input("testsrc=r=1000", f="lavfi").output("pipe:1", format="rawvideo")


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def program(folder, name, text):
    path = folder / name
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_run_that_passes_its_deadline_is_killed_and_says_so():
    started = time.monotonic()
    finished = ffmpeg.run(endless(), deadline_s=0.5)
    assert finished.timed_out
    assert time.monotonic() - started < 5


def test_a_process_that_ignores_polite_signals_is_ended_with_all_its_children(
    tmp_path, monkeypatch
):
    pids = tmp_path / "pids"
    stubborn = program(
        tmp_path,
        "ffmpeg",
        "#!/bin/sh\n"
        'if [ "$1" = -version ]; then echo ffmpeg version 9.0; exit; fi\n'
        f"trap '' TERM INT HUP; sleep 600 & echo $$ $! > {pids}; wait\n",
    )
    monkeypatch.setenv("FFMPEG_BINARY", str(stubborn))
    assert ffmpeg.run(endless(), deadline_s=1).timed_out
    time.sleep(0.2)
    assert [alive(int(pid)) for pid in pids.read_text().split()] == [False, False]


def test_what_the_reader_raises_ends_ffmpeg():
    def refuse(data):
        raise KeyError("enough")

    started = time.monotonic()
    with pytest.raises(KeyError):
        ffmpeg.run(endless(), deadline_s=60, take=refuse)
    assert time.monotonic() - started < 5


def test_ffmpeg_does_not_outlive_whoever_started_it():
    code = (
        "from tests.pipelines.video.test_ffmpeg import endless\n"
        "from pipelines.video import ffmpeg\n"
        "ffmpeg.run(endless(), deadline_s=600, take=lambda data: None)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    try:
        children = _wait_for_child(parent.pid)
    finally:
        parent.kill()
        parent.wait()
    time.sleep(0.5)
    assert not any(alive(pid) for pid in children)


def _wait_for_child(pid):
    for _ in range(300):
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        children = [int(word) for word in words]
        if children:
            time.sleep(0.5)
            return children
        time.sleep(0.1)
    raise AssertionError("no ffmpeg was started")


def test_little_is_kept_of_what_ffmpeg_says(tmp_path, monkeypatch):
    chatty = program(
        tmp_path,
        "ffmpeg",
        "#!/bin/sh\n"
        'if [ "$1" = -version ]; then echo ffmpeg version 9.0; exit; fi\n'
        "yes again | head -c 3000000 >&2; echo the end >&2; exit 7\n",
    )
    monkeypatch.setenv("FFMPEG_BINARY", str(chatty))
    finished = ffmpeg.run(endless(), deadline_s=20)
    assert finished.returncode == 7
    assert finished.stderr.endswith("the end")
    assert len(finished.stderr) <= ffmpeg.STDERR_TAIL


def test_an_old_ffmpeg_on_the_path_is_passed_over(tmp_path, monkeypatch):
    program(tmp_path, "ffmpeg", "#!/bin/sh\necho ffmpeg version 5.1.9-0+deb12u1\n")
    monkeypatch.delenv("FFMPEG_BINARY", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert str(tmp_path) not in ffmpeg.binary()


def test_a_recent_ffmpeg_on_the_path_is_used(tmp_path, monkeypatch):
    recent = program(tmp_path, "ffmpeg", "#!/bin/sh\necho ffmpeg version n7.1\n")
    monkeypatch.delenv("FFMPEG_BINARY", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert ffmpeg.binary() == str(recent)


def test_an_unusable_ffmpeg_binary_is_refused_in_one_line(monkeypatch):
    monkeypatch.setenv("FFMPEG_BINARY", "/no/such/ffmpeg")
    with pytest.raises(ConfigError, match=r"FFMPEG_BINARY is '/no/such/ffmpeg'.*unset it") as told:
        ffmpeg.binary()
    assert "\n" not in str(told.value)
