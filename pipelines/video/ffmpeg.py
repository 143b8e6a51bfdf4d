"""The one runner of ffmpeg.

ffmpeg-python builds argument lists; everything about the process is done here: its own process
group, a deadline that ends in SIGKILL, limits on memory and file size, bounded reading of both
its outputs. A flag that is never to be used is ``-err_detect explode``: on damaged H.264 it makes
ffmpeg spin for ever and ignore SIGTERM.
"""

import fcntl
import os
import re
import resource
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import imageio_ffmpeg
from ffmpeg.nodes import OutputStream

from nuwa_model.errors import ConfigError

MAX_PIXELS = 7680 * 4320
"""Largest picture that is decoded: 8K."""

STDERR_TAIL = 8192
"""Bytes kept of what ffmpeg says."""

# Containers of people's videos. Playlists (hls, dash, concat) are missing on purpose: they make
# ffmpeg open other files and addresses.
DEMUXERS = "mov,matroska,avi,mpeg,mpegts,mpegvideo,h264,hevc,flv,asf,ogg,gif,mjpeg"

_OLDEST = 6  # the first that can say which source frame an output frame came from
_ADDRESS_SPACE = 4 << 30
_FILE_SIZE = 1 << 30
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Finished:
    """How a run of ffmpeg ended.

    Args:
        returncode: Exit status; minus the signal's number if a signal ended it.
        stderr: The last 8 KiB of what it said.
        timed_out: The deadline passed and it was killed.
    """

    returncode: int
    stderr: str
    timed_out: bool = False


def input_options(path: str) -> dict[str, Any]:
    """Arguments of ``ffmpeg.input`` for a local file that nobody vouches for.

    The name goes in as ``file:…``, so that a leading ``-`` or a colon in it means nothing.
    """
    return {
        "filename": f"file:{path}",
        "protocol_whitelist": "file",
        "format_whitelist": DEMUXERS,
        "max_pixels": MAX_PIXELS,
        "max_error_rate": 0,
        "threads": 1,
    }


def run(
    output: OutputStream,
    *,
    deadline_s: float,
    take: Callable[[bytes], object] | None = None,
    stdin: IO[bytes] | None = None,
    files: Sequence[IO[bytes]] = (),
) -> Finished:
    """Run one ffmpeg to its end.

    Args:
        output: What ffmpeg-python was told to make.
        deadline_s: Wall seconds after which the whole process group is killed.
        take: Given the bytes of standard output as they come, 256 KiB at most each time. What it
            raises ends ffmpeg at once.
        stdin: File that ffmpeg reads as ``pipe:0``.
        files: Open files that ffmpeg may write to as ``fd_path(file)``.

    Raises:
        ConfigError: No usable ffmpeg can be found.
    """
    arguments = output.compile(cmd=binary())[1:]
    process = subprocess.Popen(
        [*_bound_to_parent(), binary(), "-nostdin", "-hide_banner", "-v", "error", *arguments],
        stdin=stdin or subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[file.fileno() for file in files],
        start_new_session=True,
        bufsize=0,
    )
    try:
        _limit(process.pid)
        with suppress(OSError):  # a user may have only so many large pipes
            fcntl.fcntl(_pipe(process.stdout), fcntl.F_SETPIPE_SZ, _CHUNK)
        return _watch(process, time.monotonic() + deadline_s, take)
    finally:
        _end(process)


def memory_file() -> IO[bytes]:
    """A file in memory that ffmpeg can read or write: nothing is left behind, whatever dies."""
    return os.fdopen(os.memfd_create("ffmpeg"), "w+b")


def fd_path(file: IO[bytes]) -> str:
    """The name under which ffmpeg opens a file of ``run(files=…)``."""
    return f"/proc/self/fd/{file.fileno()}"


def binary() -> str:
    """Path of the ffmpeg in use: ``FFMPEG_BINARY``, else the PATH's if it is recent enough, else
    the one of the imageio-ffmpeg wheel.

    Raises:
        ConfigError: ``FFMPEG_BINARY`` names something that cannot be used.
    """
    return _binary(os.environ.get("FFMPEG_BINARY", ""), os.environ.get("PATH", ""))


@lru_cache(maxsize=8)
def _binary(wanted: str, path: str) -> str:
    if wanted:
        found = shutil.which(wanted, path=path)
        if found is None or not _is_recent(found):
            raise ConfigError(
                f"FFMPEG_BINARY is {wanted!r}, which is no ffmpeg {_OLDEST} or newer that runs "
                "here; unset it to use the one that comes with imageio-ffmpeg."
            )
        return found
    found = shutil.which("ffmpeg", path=path)
    if found is not None and _is_recent(found):
        return found
    wheel = Path(imageio_ffmpeg.__file__).parent / "binaries"
    for candidate in sorted(wheel.glob("ffmpeg-*")):
        return str(candidate)
    raise ConfigError(
        f"No ffmpeg {_OLDEST} or newer is on the PATH and the imageio-ffmpeg wheel has none for "
        "this machine; install one and name it in FFMPEG_BINARY."
    )


def _is_recent(program: str) -> bool:
    """Whether a program is an ffmpeg of a version in use; builds without a number count as new."""
    try:
        said = subprocess.run([program, "-version"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    match = re.match(rb"ffmpeg version (?:n?(\d+)\.)?", said.stdout)
    return match is not None and int(match[1] or _OLDEST) >= _OLDEST


@lru_cache(maxsize=1)
def _bound_to_parent() -> tuple[str, ...]:
    """Words before a command that make the kernel end it with us, where util-linux is there.

    A ``preexec_fn`` would do the same but forks the whole of this process, which is slow in a
    big one and unsafe in one with threads.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return ()
    words = (setpriv, "--pdeathsig", "KILL", "--")
    works = subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    return words if works else ()


def _limit(pid: int) -> None:
    """Bound memory and file size; done from outside, so it needs no code in the child."""
    limits = {
        resource.RLIMIT_AS: _ADDRESS_SPACE,
        resource.RLIMIT_FSIZE: _FILE_SIZE,
        resource.RLIMIT_CORE: 0,
    }
    for which, value in limits.items():
        with suppress(ProcessLookupError):
            hard = resource.prlimit(pid, which)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.prlimit(pid, which, (value, value))


def _watch(
    process: "subprocess.Popen[bytes]",
    deadline: float,
    take: Callable[[bytes], object] | None,
) -> Finished:
    tail = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(_pipe(process.stdout), selectors.EVENT_READ, take)
        selector.register(_pipe(process.stderr), selectors.EVENT_READ, tail.extend)
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return Finished(-signal.SIGKILL, _text(tail), timed_out=True)
            for key, _ in selector.select(left):
                data = os.read(key.fd, _CHUNK)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.data is not None:
                    key.data(data)
            del tail[:-STDERR_TAIL]
    try:
        return Finished(process.wait(max(deadline - time.monotonic(), 0.1)), _text(tail))
    except subprocess.TimeoutExpired:
        return Finished(-signal.SIGKILL, _text(tail), timed_out=True)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Leave nothing of the process group behind, and no open pipe."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for pipe in (process.stdout, process.stderr):
        _pipe(pipe).close()
    process.wait()


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _text(tail: bytearray) -> str:
    return bytes(tail).decode("utf-8", errors="replace").strip()
