"""What lies in buckets: each folder is listed once a run, and no object is ever asked about."""

import hashlib
import logging
import os
import stat
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress

from pipelines import storage
from pipelines.errors import StorageError
from pipelines.storage import Entry

_SECOND = 1_000_000_000

_log = logging.getLogger(__name__)


class Listings:
    """What buckets answered, remembered. Of this machine nothing is: its disk is asked each time.

    The methods that raise ``StorageError`` do so where a bucket cannot be listed.
    """

    def __init__(self) -> None:
        self._found: dict[str, _Listing] = {}
        self._closed: dict[str, StorageError] = {}

    def is_file(self, uri: str) -> bool:
        """Whether an object of a bucket has this uri."""
        return self._around(uri.rpartition("/")[0]).is_file(uri)

    def is_dir(self, uri: str) -> bool:
        """Whether an object of a bucket lies below this uri."""
        return next(self.below(uri), None) is not None

    def below(self, uri: str) -> Iterator[str]:
        """Names of all objects below a folder of a bucket, relative to it, in order."""
        return self._around(uri).below(uri)

    def forget(self, folder: str) -> None:
        """Ask again the next time, because files were written there."""
        for around in [uri for uri in self._found if f"{folder}/".startswith(f"{uri}/")]:
            del self._found[around]

    def entry(self, uri: str) -> Entry | None:
        """What is known of a file or folder, here or in a bucket; ``None`` if it is not there.

        A folder is as new as the newest file in it: one may be written over in its place.

        Raises:
            StorageError: Nobody lists it: it is behind an address, or its bucket refuses.
        """
        if uri.startswith("s3://"):
            return self._around(uri.rpartition("/")[0]).entry(uri)
        if not storage.is_local(uri):
            raise StorageError(f"{uri} is in no folder that can be listed.")
        try:
            status = os.stat(uri)  # noqa: PTH116 (a uri is text)
        except OSError:
            return None
        newest = status.st_mtime_ns
        if stat.S_ISDIR(status.st_mode):
            newest = max([newest, *_times_in(uri)])
        return Entry(status.st_size, newest)

    def _around(self, folder: str) -> "_Listing":
        """The listing that a folder is part of; one is made if there is none."""
        around = folder
        while around.count("/") > 1:
            if around in self._found:
                return self._found[around]
            around = around.rpartition("/")[0]
        bucket = "/".join(folder.split("/")[:3])
        if bucket in self._closed:  # a refusal takes its time: it is not asked for again
            raise self._closed[bucket]
        try:
            return self._found.setdefault(folder, _Listing(folder))
        except StorageError as error:
            _log.warning("event=not_listed error=%s", error)
            self._closed[bucket] = error
            raise


def _times_in(folder: str) -> Iterator[int]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                yield entry.stat().st_mtime_ns


class _Listing:
    """What lies below one folder of a bucket, which knows objects only: folders are their names."""

    def __init__(self, folder: str) -> None:
        self._entries = storage.entries(folder)
        self._uris = sorted(self._entries)

    def is_file(self, uri: str) -> bool:
        return uri in self._entries

    def below(self, uri: str) -> Iterator[str]:
        start = f"{uri}/"
        for index in range(bisect_left(self._uris, start), len(self._uris)):
            if not self._uris[index].startswith(start):
                return
            yield self._uris[index][len(start) :]

    def entry(self, uri: str) -> Entry | None:
        """Of a folder: all its bytes, its newest file, and an ETag made of all names and ETags."""
        if uri in self._entries:
            return self._entries[uri]
        inside = {name: self._entries[f"{uri}/{name}"] for name in self.below(uri)}
        if not inside:
            return None
        told = "\n".join(f"{name} {entry.etag}" for name, entry in inside.items())
        return Entry(
            size=sum(entry.size for entry in inside.values()),
            modified_ns=max(entry.modified_ns for entry in inside.values()),
            etag=hashlib.sha256(told.encode()).hexdigest(),
        )


def version_ns(entries: Sequence[Entry]) -> int:
    """One number for what lies in some places now: when the newest was written, in nanoseconds.

    S3 tells whole seconds. Those alone are not enough: an object that is replaced within the
    second in which it was put and read keeps its time, and one whose older version is restored
    goes back in time, perhaps behind its sketch. So the digits below the second, which S3 leaves
    free, are made of the ETags, which its listing tells too.
    """
    newest = max(entry.modified_ns for entry in entries)
    etags = "\n".join(entry.etag for entry in entries)
    return newest + zlib.crc32(etags.encode()) % _SECOND if etags.strip() else newest
