"""What is left to do: what lies there, compared with what the store knows."""

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pipelines import storage
from pipelines.config import FetchConfig
from pipelines.datasets.catalog import Known, Row, Source
from pipelines.errors import MediaError
from pipelines.fetch import fetched_one
from pipelines.transfers import each
from pipelines.video.clips import hash_source

_LIMITS = FetchConfig()

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """What is left to do.

    Args:
        decode: Sources to decode.
        copies: Sources with the very bytes of another, by the uri of that other, which is either
            among ``decode`` or done. They share its clips.
        forget: Uris whose rows are no longer true, in any table.
        retell: Sources that are done but have other captions or another split now, or are back.
        gone: Uris that the data set no longer has. Their clips stay, and the catalog says so.
    """

    decode: list[Source]
    copies: dict[str, list[Source]]
    forget: frozenset[str]
    retell: list[Source]
    gone: frozenset[str] = frozenset()

    @property
    def unsettled(self) -> frozenset[str]:
        """Uris of all that is decoded, or shares what is."""
        copies = (source for shared in self.copies.values() for source in shared)
        return frozenset(source.uri for source in (*self.decode, *copies))

    def __bool__(self) -> bool:
        """Whether anything is left to do."""
        return any((self.decode, self.copies, self.forget, self.retell, self.gone))


def make_plan(
    sources: Sequence[Source],
    known: Known,
    *,
    verify_content: bool = False,
    retry_errors: bool = False,
    fetch: FetchConfig = _LIMITS,
) -> Plan:
    """Compare what lies there with what is known.

    A source is decoded if it is new or changed, if its clips are lost, or if its error is one
    that another try may cure. One that was written again with the same bytes costs a hash.

    Args:
        sources: Everything the data set has.
        known: What the store knows.
        verify_content: Hash unchanged files too, in place of trusting size and time.
        retry_errors: Leave everything alone but the sources that have an error, whatever it is.
        fetch: How files of buckets are fetched, to hash them.
    """
    listed = {s.uri for s in sources}
    gone = {uri for uri, row in known.catalog.items() if uri not in listed and not row["is_gone"]}
    hashes: dict[str, str] = {}
    if retry_errors:
        gone.clear()
        sources = [s for s in sources if s.uri in known.errors]
        changed = {s.uri for s in sources}
    else:
        hashes = _hashes([s for s in sources if verify_content or _may_be_same(s, known)], fetch)
        changed = {s.uri for s in sources if _has_changed(s, known, hashes)}
        content = {sha256 for uri, sha256 in known.clips if uri not in changed}
        changed |= {s.uri for s in sources if _is_lost(s.uri, known, content)}
    twins = _possible_copies(sources, changed - set(hashes))
    decode, copies = _set_copies_apart(sources, changed, known, hashes | _hashes(twins, fetch))
    present = {uri for uri, _ in known.clips} | set(known.errors)
    orphans = present - set(known.catalog)
    forget = orphans | (changed & (present | set(known.catalog)))
    retell = [s for s in sources if s.uri not in changed and _is_retold(s, known)]
    return Plan(decode, copies, frozenset(forget), retell, frozenset(gone))


def _is_touched(source: Source, row: Row) -> bool:
    """Whether it was written since it was decoded."""
    state = (source.size, source.modified_ns)
    return source.is_known and state != (row["size"], row["modified_ns"])


def _may_be_same(source: Source, known: Known) -> bool:
    """Whether a source that was written again may hold the same bytes, which its hash tells.

    Of one with a sketch nobody knows which of the two was written. The size 0 stands for files of
    buckets in catalogs from before these were looked at.
    """
    row = known.catalog.get(source.uri)
    return (
        row is not None
        and _is_touched(source, row)
        and not source.ref.sketch_uri
        and row["size"] in (source.size, 0)
        and bool(row["sha256"])
    )


def _has_changed(source: Source, known: Known, hashes: dict[str, str]) -> bool:
    row, error = known.catalog.get(source.uri), known.errors.get(source.uri)
    if row is None or (source.ref.sketch_uri, source.ref.kind) != (row["sketch_uri"], row["kind"]):
        return True
    if error is not None and error["is_transient"]:
        return True
    is_touched = _is_touched(source, row)
    if is_touched and source.ref.sketch_uri:
        return True
    return hashes[source.uri] != row["sha256"] if source.uri in hashes else is_touched


def _is_lost(uri: str, known: Known, content: set[str]) -> bool:
    """Whether a source that should have clips has none, for instance after a repair."""
    row = known.catalog.get(uri)
    return row is not None and uri not in known.errors and row["sha256"] not in content


def _is_retold(source: Source, known: Known) -> bool:
    row = known.catalog[source.uri]
    told = (list(source.ref.text), source.ref.split)
    return told != (row["text"], row["split"]) or bool(row["is_gone"]) or _is_touched(source, row)


def _possible_copies(sources: Sequence[Source], wanted: set[str]) -> list[Source]:
    """Those wanted that are as large as another source, and in a bucket have another's ETag."""
    alike = Counter((source.size, source.etag) for source in sources)
    return [
        source
        for source in sources
        if source.uri in wanted and source.modified_ns and alike[source.size, source.etag] > 1
    ]


def _set_copies_apart(
    sources: Sequence[Source], changed: set[str], known: Known, hashes: dict[str, str]
) -> tuple[list[Source], dict[str, list[Source]]]:
    """Of files with the same bytes one is decoded."""
    owners = {known.catalog[s.uri]["sha256"]: s.uri for s in sources if s.uri not in changed}
    decode: list[Source] = []
    copies: dict[str, list[Source]] = defaultdict(list)
    # One that has a sketch goes first: its clips are the richer ones.
    for source in sorted(sources, key=lambda s: (not s.ref.sketch_uri, s.uri)):
        if source.uri not in changed:
            continue
        sha256 = hashes.get(source.uri, "")
        owner = owners.setdefault(sha256, source.uri) if sha256 else source.uri
        if owner == source.uri:
            decode.append(source)
        else:
            _log.warning("copy uri=%s of=%s (its captions are not used)", source.uri, owner)
            copies[owner].append(source)
    return decode, dict(copies)


def _hashes(sources: Sequence[Source], fetch: FetchConfig) -> dict[str, str]:
    """Content by uri; several are read at once, because a bucket takes its time to answer."""
    contents = each(partial(_hash, fetch=fetch), sources)
    return dict(zip((source.uri for source in sources), contents, strict=True))


def _hash(source: Source, fetch: FetchConfig) -> str:
    """Hash of the content, or nothing if it cannot be read, which decoding reports.

    What lies behind an address is not asked for twice.
    """
    ref = source.ref
    if not storage.is_local(ref.uri) and not ref.uri.startswith("s3://"):
        return ""
    try:
        with fetched_one(ref.uri, limits=fetch, is_folder=bool(ref.frame_rate)) as path:
            return hash_source(ref, path)
    except MediaError:
        return ""
