"""Whole files by uri: written once or replaced whole, never seen half done.

A uri is a local path today. An ``s3://`` uri is understood here and nowhere else: callers join
and pass uris and never open one themselves. A file whose name starts with a dot is ours and
unfinished; no listing shows it.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from uuid import uuid4

from pipelines.errors import StorageError


def join(root: str, *parts: str) -> str:
    """A uri below ``root``; empty parts are left out."""
    below = [part.strip("/") for part in parts if part]
    return "/".join([root.rstrip("/"), *below] if root else below)


def local_path(uri: str) -> Path:
    """Where a uri lies on this machine.

    Raises:
        StorageError: The uri names another machine.
    """
    if "://" in uri:
        raise StorageError(
            f"{uri} is not a local path; this version stores local files only: give a folder."
        )
    return Path(uri)


def exists(uri: str) -> bool:
    """Whether a file or a folder lies there."""
    return local_path(uri).exists()


def size(uri: str) -> int:
    """Bytes of a file.

    Raises:
        StorageError: There is no such file.
    """
    with _named(uri, "read"):
        return local_path(uri).stat().st_size


def read_bytes(uri: str) -> bytes:
    """All bytes of a file.

    Raises:
        StorageError: There is no such file, or it cannot be read.
    """
    with _named(uri, "read"):
        return local_path(uri).read_bytes()


def open_file(uri: str) -> BufferedReader:
    """A file to seek and read in; the caller closes it.

    Raises:
        StorageError: There is no such file, or it cannot be read.
    """
    with _named(uri, "read"):
        return local_path(uri).open("rb")


def put_if_absent(uri: str, data: bytes) -> bool:
    """Write a file whole unless one is there; true if these bytes are the ones that lie there now.

    Of several writers at once exactly one gets true, whatever dies when.

    Raises:
        StorageError: The file cannot be written.
    """
    with _named(uri, "write"), _temporary(local_path(uri), data) as temporary:
        try:
            os.link(temporary, local_path(uri))
        except FileExistsError:
            return False
        sync(local_path(uri).parent)
        return True


def replace_bytes(uri: str, data: bytes) -> None:
    """Write a file whole over whatever is there; a reader sees the old bytes or the new.

    Raises:
        StorageError: The file cannot be written.
    """
    with _named(uri, "write"), _temporary(local_path(uri), data) as temporary:
        temporary.replace(local_path(uri))
        sync(local_path(uri).parent)


def list_files(prefix: str) -> list[str]:
    """Full uris of all files below a folder, sorted; nothing if there is no such folder."""
    root = local_path(prefix)
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [str(Path(folder, name)) for name in names if not name.startswith(".")]
    return sorted(found)


def delete(uri: str) -> None:
    """Delete a file, or a folder with all that is in it; nothing there is no error.

    Raises:
        StorageError: It cannot be deleted.
    """
    path = local_path(uri)
    with _named(uri, "delete"), suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def sync(path: Path) -> None:
    """Make a file's bytes, or the names in a folder, outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _temporary(target: Path, data: bytes) -> Iterator[Path]:
    """The bytes, safe on disk under an unfinished file's name beside their target."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def _named(uri: str, verb: str) -> Iterator[None]:
    """Say which file an operating system's error is about."""
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise StorageError(f"Cannot {verb} {uri}: there is no such file.") from error
    except OSError as error:
        raise StorageError(f"Cannot {verb} {uri}: {error.strerror or error}.") from error
