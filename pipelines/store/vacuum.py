"""Deletes files that no version anybody may still want names."""

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from tqdm import tqdm

from nuwa_model.errors import ConfigError, UnknownNameError
from pipelines import storage
from pipelines.store.history import Commit, read_history
from pipelines.store.leases import Lease, forget_expired, lease, live_leases
from pipelines.store.size import existing_tables, tokenizer_sizes
from pipelines.store.table import StoreTable

RETENTION_HOURS = 7 * 24
"""A version stays readable this long after the next one replaced it."""

GRACE_HOURS = 24
"""A file that no version names stays this long after it was written: a commit may come."""


@dataclass(frozen=True, kw_only=True)
class StaleFile:
    """A file that may go, or went.

    Attributes:
        uri: The file.
        table: Its table.
        bytes: Its size.
    """

    uri: str
    table: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class HeldVersion:
    """A version that is older than the retention and stays because somebody reads it.

    Attributes:
        table: Its table.
        version: Which.
        holder: Who reads it.
        files: Files that stay for it.
    """

    table: str
    version: int
    holder: str
    files: int


@dataclass(frozen=True, kw_only=True)
class Vacuum:
    """What a vacuum did, or would do.

    Attributes:
        is_deleted: False for a dry run.
        rows: Rows of the unwanted tokenizer that left the table of tokens.
        old_rows: Rows of clips that the store has no more, which left it too.
        files: Files that no wanted version names.
        held: Versions that only their readers keep.
    """

    is_deleted: bool
    rows: int
    old_rows: int
    files: list[StaleFile]
    held: list[HeldVersion]


def vacuum_store(
    store: str,
    *,
    retention_hours: float = RETENTION_HOURS,
    grace_hours: int = GRACE_HOURS,
    tokenizer: str = "",
    delete: bool = False,
) -> Vacuum:
    """Find what nobody needs, and delete it if asked to.

    Tokens of clips that the store has no more, because their sources were replaced, leave their
    table, and their files go when the retention is over.

    Files stay that are named by the newest version, by one that was the newest within the
    retention, or by one that a reader holds a lease on.

    Args:
        store: Root of the store.
        retention_hours: How long replaced versions stay readable.
        grace_hours: How long a file stays that was written or left a table.
        tokenizer: Fingerprint whose rows leave the table of tokens first; their files go when
            the retention is over.
        delete: Act; otherwise only tell.

    Raises:
        StoreError: A writer is at work, or there is no store.
        UnknownNameError: The store has no tokens of that tokenizer.
        ConfigError: Hours are negative.
    """
    if retention_hours < 0 or grace_hours < 0:
        raise ConfigError(
            f"Hours to keep files must be 0 or more, not {retention_hours:g} (retention) and "
            f"{grace_hours} (grace)."
        )
    tables = existing_tables(store)
    if tokenizer and tokenizer not in (known := tokenizer_sizes(store)):
        raise UnknownNameError("tokenizer of this store", tokenizer, known)
    rows = tables["tokens"].num_rows({"tokenizer": tokenizer}) if tokenizer else 0
    if not delete:
        old_rows = sum(map(len, _old_tokens(tables).values()))
        files, held = _find(store, retention_hours, grace_hours)
        return Vacuum(is_deleted=False, rows=rows, old_rows=old_rows, files=files, held=held)
    with lease(store, "vacuum", "rewriter"):
        if tokenizer:
            live = tables["tokens"].shards()
            gone = [shard.path for shard in live if shard.partition["tokenizer"] == tokenizer]
            tables["tokens"].commit((), remove=gone)
        old = _old_tokens(tables)
        for dataset, clip_ids in old.items():
            added, removed = tables["tokens"].without({"dataset": dataset, "clip_id": clip_ids})
            tables["tokens"].commit(added, remove=removed)
        files, held = _find(store, retention_hours, grace_hours)
        for file in tqdm(files, desc="delete files", disable=None):
            storage.delete(file.uri)
        forget_expired(store)
    old_rows = sum(map(len, old.values()))
    return Vacuum(is_deleted=True, rows=rows, old_rows=old_rows, files=files, held=held)


def _old_tokens(tables: Mapping[str, StoreTable]) -> dict[str, list[str]]:
    """The clip of each row of tokens whose clip is gone, by data set.

    A store that holds tokens alone has none.
    """
    if not {"clips", "tokens"} <= set(tables):
        return {}
    clips, tokens = (
        [
            (row["dataset"], row["clip_id"])
            for row in tables[name].read(["dataset", "clip_id"]).to_pylist()
        ]
        for name in ("clips", "tokens")
    )
    known = set(clips)
    old = defaultdict(list)
    for dataset, clip_id in tokens:
        if (dataset, clip_id) not in known:
            old[dataset].append(clip_id)
    return dict(old)


def _find(
    store: str, retention_hours: float, grace_hours: int
) -> tuple[list[StaleFile], list[HeldVersion]]:
    leases = [found for found in live_leases(store).values() if found.versions]
    files: list[StaleFile] = []
    held: list[HeldVersion] = []
    for name, table in existing_tables(store).items():
        history = read_history(table)
        kept = set(_kept_versions(history, timedelta(hours=retention_hours)))
        named = files_of_versions(history, kept)
        old = {path for path in table.unreferenced(grace_hours) if path not in named}
        for version, holder in _leased(leases, name):
            wanted = old & files_of_versions(history, {version})
            if wanted:
                held.append(
                    HeldVersion(table=name, version=version, holder=holder, files=len(wanted))
                )
        old -= files_of_versions(history, {version for version, _ in _leased(leases, name)})
        files += _described(table, old)
    return files, held


def files_of_versions(history: Sequence[Commit], versions: Collection[int]) -> set[str]:
    """Paths that at least one of the versions names."""
    live: set[str] = set()
    named: set[str] = set()
    was_wanted = False
    for commit in history:
        live.difference_update(commit.removed)
        live.update(commit.added)
        is_wanted = commit.version in versions
        if is_wanted:
            named.update(commit.added if was_wanted else live)
        was_wanted = is_wanted
    return named


def _kept_versions(history: Sequence[Commit], retention: timedelta) -> Iterator[int]:
    """The newest version, and those that another one replaced within the retention."""
    oldest = datetime.fromtimestamp(time.time(), UTC) - retention
    yield history[-1].version
    for commit, following in pairwise(history):
        if following.time > oldest:
            yield commit.version


def _leased(leases: Sequence[Lease], table: str) -> list[tuple[int, str]]:
    return [(held.versions[table], str(held)) for held in leases if table in held.versions]


def _described(table: StoreTable, paths: Collection[str]) -> list[StaleFile]:
    """Those that are still there; the log remembers deleted ones for a while."""
    sizes = storage.sizes(table.root)
    uris = [storage.join(table.root, path) for path in sorted(paths)]
    return [StaleFile(uri=uri, table=table.name, bytes=sizes[uri]) for uri in uris if uri in sizes]
