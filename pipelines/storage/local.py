"""Files of this machine; ``pipelines.storage`` says what each function does."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from uuid import uuid4

from pipelines.errors import StorageError
from pipelines.storage.entry import Entry

_COPY_BYTES = 1 << 20


def exists(uri: str) -> bool:
    """Whether a file or a folder lies there."""
    with _named(uri, "look at"):
        return Path(uri).exists()


def size(uri: str) -> int:
    """Bytes of a file."""
    with _named(uri, "read"):
        return Path(uri).stat().st_size


def read_bytes(uri: str) -> bytes:
    """All bytes of a file."""
    with _named(uri, "read"):
        return Path(uri).read_bytes()


def open_file(uri: str) -> BufferedReader:
    """A file to seek and read in."""
    with _named(uri, "read"):
        return Path(uri).open("rb")


def put_if_absent(uri: str, data: bytes) -> bool:
    """Link a finished file to its name, which fails if the name is taken."""
    with _named(uri, "write"), _temporary(Path(uri)) as temporary:
        _write(temporary, data)
        try:
            os.link(temporary, uri)
        except FileExistsError:
            return False
        sync(Path(uri).parent)
        return True


def replace_bytes(uri: str, data: bytes) -> None:
    """Rename a finished file over the old one."""
    with _named(uri, "write"), _temporary(Path(uri)) as temporary:
        _write(temporary, data)
        temporary.replace(uri)
        sync(Path(uri).parent)


def entries(prefix: str) -> dict[str, Entry]:
    """Size and time of each file below a folder."""
    found = {}
    for folder, folders, names in os.walk(prefix):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(folder, name) for name in names if not name.startswith(".")):
            with suppress(FileNotFoundError):  # deleted while we look
                status = path.stat()
                found[str(path)] = Entry(status.st_size, status.st_mtime_ns)
    return found


def list_folders(prefix: str) -> list[str]:
    """Folders directly in a folder."""
    root = Path(prefix)
    if not root.is_dir():
        return []
    return sorted(str(p) for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def delete(uri: str) -> None:
    """Delete a file, or a folder whole."""
    path = Path(uri)
    with _named(uri, "delete"), suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def upload(path: Path, uri: str, sha256: str, advance: Callable[[int], None]) -> None:
    """Copy a file whole; its hash is no use here."""
    with _named(uri, "write"), _temporary(Path(uri)) as temporary:
        shutil.copyfile(path, temporary)
        sync(temporary)
        temporary.replace(uri)
        sync(Path(uri).parent)
        advance(Path(uri).stat().st_size)


def download(uri: str, path: Path, advance: Callable[[int], None]) -> None:
    """Append what is missing."""
    with _named(uri, "read"), Path(uri).open("rb") as source, path.open("ab") as file:
        source.seek(file.tell())
        while data := source.read(_COPY_BYTES):
            file.write(data)
            advance(len(data))


def sync(path: Path) -> None:
    """Make a file's bytes, or the names in a folder, outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """An unfinished file's name beside its target."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{uuid4().hex}.tmp")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


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
