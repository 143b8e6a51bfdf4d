"""What lies there of a data set's sources, and what the store knows of them.

A source is done when the catalog has its row: that row is committed last, after the source's
clips or its error. Whatever lies in the other tables without a catalog row was left by a run that
died, and is forgotten before the source is decoded again.
"""

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pipelines.datasets.base import SourceRef
from pipelines.datasets.listings import Listings, version_ns
from pipelines.errors import StorageError
from pipelines.store.table import StoreTable

Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """A source as it lies there now; the same size and time mean the same content.

    Args:
        ref: What the data set tells of it.
        size: Bytes.
        modified_ns: When it, or the place of its sketch, was last written, as
            ``listings.version_ns`` says.
        etag: Of a source in a bucket. Where it is another's too, it may be a copy of that.
        is_known: Whether it could be looked at. What cannot be, such as an address, is trusted: it
            leads to what it led to once.
    """

    ref: SourceRef
    size: int
    modified_ns: int
    etag: str = ""
    is_known: bool = True

    @cached_property
    def uri(self) -> str:
        """What the stores call it."""
        return self.ref.source_uri


@dataclass(frozen=True)
class Known:
    """What the store knows of one data set.

    Args:
        catalog: Catalog rows by uri.
        errors: Live errors by uri.
        clips: Uri and content hash of every source that has clips.
    """

    catalog: dict[str, Row]
    errors: dict[str, Row]
    clips: frozenset[tuple[str, str]]


def look_at(ref: SourceRef, listings: Listings | None = None) -> Source:
    """The source as it lies there now. If a part of it is missing all is 0: decoding reports that.

    Args:
        ref: The source.
        listings: What is known of buckets; a bucket that they know of is not asked.
    """
    listings = listings or Listings()
    places = [uri for uri in (ref.uri, ref.sketch_uri) if uri]
    try:
        found = [listings.entry(uri) for uri in places]
    except StorageError:
        return Source(ref, 0, 0, is_known=False)
    entries = [entry for entry in found if entry is not None]
    if len(entries) < len(places):
        return Source(ref, 0, 0)
    return Source(ref, entries[0].size, version_ns(entries), entries[0].etag)


def read_known(store: str, dataset: str) -> Known:
    """Everything the store knows of a data set; nothing if it is new."""
    where = {"dataset": dataset}
    catalog, errors = (
        {row["source_uri"]: row for row in table.read(where=where).to_pylist()}
        if table.exists()
        else {}
        for table in (StoreTable(store, "catalog"), StoreTable(store, "errors"))
    )
    clips: set[tuple[str, str]] = set()
    table = StoreTable(store, "clips")
    if table.exists():
        columns = ["source_uri", "source_sha256"]
        for rows in table.iter_shards(columns, where=where):
            clips.update(zip(*(rows[name].to_pylist() for name in columns), strict=True))
    return Known(catalog, errors, frozenset(clips))


def other_datasets(store: str, dataset: str) -> list[str]:
    """Names of the other data sets that the store holds, sorted."""
    table = StoreTable(store, "catalog")
    if not table.exists():
        return []
    return sorted(set(table.read(["dataset"]).column("dataset").unique().to_pylist()) - {dataset})


def catalog_row(source: Source, dataset: str, counted: Row) -> Row:
    """The catalog's row of a source, with what decoding it counted."""
    return {
        "dataset": dataset,
        "source_uri": source.uri,
        "size": source.size,
        "modified_ns": source.modified_ns,
        "split": source.ref.split,
        "kind": source.ref.kind,
        "text": list(source.ref.text),
        "sketch_uri": source.ref.sketch_uri,
        "is_gone": False,
        **{name: counted[name] for name in ("sha256", "frames_read", "num_clips", "frames_left")},
    }


def summarize(sources: Iterable[Source], known: Known, *, num_frames: int) -> dict[str, Any]:
    """Account for every source in numbers and in one line for people."""
    uris = sorted(source.uri for source in sources)
    rows = [known.catalog[uri] for uri in uris if uri in known.catalog]
    errors = [known.errors[uri] for uri in uris if uri in known.errors]
    owned = {row["sha256"]: row for row in rows if row["source_uri"] not in known.errors}
    num_clips = sum(row["num_clips"] for row in owned.values())
    num_short = sum(
        row["kind"] == "video" and row["frames_read"] < num_frames for row in owned.values()
    )
    gone = set(known.catalog) - set(uris)
    again = len(uris) - len(rows)
    line = (
        f"{_count(len(rows), 'source')}: {len(rows) - len(errors)} with clips "
        f"({_count(num_clips, 'clip')}, {num_short} short), {_count(len(errors), 'error')}"
    )
    if errors:
        named = [f"{os.path.basename(e['source_uri'])}: {e['code']}" for e in errors[:5]]  # noqa: PTH119
        more = [f"and {len(errors) - 5} more"] if len(errors) > 5 else []
        line += f" ({', '.join(named + more)})"
    if again:
        line += f"; {_count(again, 'source')} being decoded again by another run"
    if gone:
        line += f"; {_count(len(gone), 'earlier source')} no longer there, clips kept"
    return {
        "sources": len(rows),
        "with_clips": len(rows) - len(errors),
        "clips": num_clips,
        "short": num_short,
        "errors": dict(Counter(error["code"] for error in errors)),
        "gone": len(gone),
        "summary": line,
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
