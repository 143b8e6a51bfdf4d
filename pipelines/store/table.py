"""One table: which shards are live, by version, in a Delta log.

The log is deltalake's; the files are ours (``shards``). Any Delta reader can read the table. How
commits behave and why is in ``docs/decisions/store_commits.md``.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from nuwa_model.errors import UnknownNameError
from pipelines import storage
from pipelines.errors import StoreError, SupersededError
from pipelines.store.log import (
    LiveShard,
    add_action,
    add_younger_columns,
    live_shards,
    log_exists,
    one_line,
    open_log,
    open_or_create_log,
    remove_action,
)
from pipelines.store.schema import TABLES
from pipelines.store.shards import ShardFile, read_shard, write_shard
from pipelines.store.where import Where, listed, matches

_ATTEMPTS = 20


class StoreTable:
    """A table of the store. It holds no state but its address; every call reads the log."""

    def __init__(self, store: str, name: str) -> None:
        if name not in TABLES:
            raise UnknownNameError("table", name, TABLES)
        self.name = name
        self.root = storage.join(store, name)
        self.spec = TABLES[name]

    def exists(self) -> bool:
        """Whether anything was ever committed."""
        return log_exists(self.root)

    def version(self) -> int:
        """The newest version, counted from 0.

        Raises:
            StoreError: There is no such table yet.
        """
        return self._open().version()

    def shards(self, version: int | None = None) -> list[LiveShard]:
        """Live shards, sorted by path, so that rows come in the same order whoever wrote first.

        Raises:
            StoreError: There is no such table or version.
        """
        return live_shards(self._open(version), self.spec.partition_by)

    def look(self) -> tuple[int, list[LiveShard]]:
        """The newest version with its shards; version 0 without any if there is no table yet."""
        if not self.exists():
            return 0, []
        table = self._open()
        return table.version(), live_shards(table, self.spec.partition_by)

    def num_rows(self, where: Where | None = None, version: int | None = None) -> int:
        """Rows wanted; costs no read of a shard unless ``where`` names more than the partition."""
        where = where or {}
        if set(where) <= set(self.spec.partition_by):
            return sum(s.num_rows for s in self._wanted(where, version))
        return sum(t.num_rows for t in self.iter_shards(list(where), where=where, version=version))

    def read(
        self,
        columns: Sequence[str] | None = None,
        *,
        where: Where | None = None,
        version: int | None = None,
    ) -> pa.Table:
        """Rows of one version, checksums verified, in a fixed order.

        Args:
            columns: Columns wanted; all by default.
            where: Rows wanted; all by default.
            version: Version of the table; the newest by default.

        Raises:
            StoreError: There is no such table, version or column, or a shard is damaged.
        """
        names = self.spec.schema.names if columns is None else list(columns)
        empty = self._schema(names).empty_table()
        return pa.concat_tables([empty, *self.iter_shards(names, where=where, version=version)])

    def iter_shards(
        self,
        columns: Sequence[str] | None = None,
        *,
        where: Where | None = None,
        version: int | None = None,
    ) -> Iterator[pa.Table]:
        """The rows that ``read`` gives, a shard at a time, for what does not fit in memory."""
        names = self.spec.schema.names if columns is None else list(columns)
        where = where or {}
        schema = self._schema(names)
        for shard in self._wanted(where, version):
            inside = {c: v for c, v in where.items() if c not in self.spec.partition_by}
            rows = read_shard(
                storage.join(self.root, shard.path), list(dict.fromkeys([*names, *inside]))
            )
            for column, values in inside.items():
                rows = rows.filter(pc.is_in(rows.column(column), pa.array(listed(values))))
            yield rows.select(names).cast(schema)

    def commit(
        self,
        shards: Iterable[ShardFile],
        *,
        remove: Collection[str] = (),
        since: int | None = None,
    ) -> int:
        """Make shards live and others not, in one transaction; a version that holds it.

        Creates the table if need be. What is already as asked is left alone, so a commit may be
        repeated, and one that asks for nothing new makes no version.

        Args:
            shards: Published shards of this table.
            remove: Paths of live shards, as ``shards()`` or ``without`` gives them.
            since: Version, as ``look`` gives it, after which nobody else may have committed; any
                by default.

        Raises:
            SupersededError: A shard to remove is no longer live because another writer replaced
                it, or somebody committed after ``since``: read the table again.
        """
        asked = {shard.path: shard for shard in shards}
        failure = ""
        # Without retries of its own, deltalake commits only as the very next version.
        retries = _ATTEMPTS if since is None else 0
        for attempt in range(_ATTEMPTS):
            table = open_or_create_log(self.root, self.spec)
            live = {shard.path: shard for shard in live_shards(table, self.spec.partition_by)}
            add = [s for s in asked.values() if s.path not in live or live[s.path].size != s.size]
            gone = [path for path in remove if path not in live]
            if gone and add:
                raise SupersededError(
                    f"Shard {gone[0]} of {self.root} was replaced by another writer meanwhile: "
                    "read the table again and repeat the change."
                )
            actions: list[AddAction | RemoveAction] = [add_action(shard) for shard in add]
            actions += [remove_action(live[path]) for path in remove if path in live]
            if not actions:
                return table.version()
            if since is not None and table.version() != since:
                raise SupersededError(
                    f"{self.root} is at version {table.version()}, no longer at {since}: read the "
                    "table again and repeat the change."
                )
            try:
                if add_younger_columns(table, self.spec.schema):
                    continue
                table.create_write_transaction(
                    actions,
                    mode="append",
                    schema=table.schema(),
                    partition_by=list(self.spec.partition_by),
                    commit_properties=CommitProperties(max_commit_retries=retries),
                )
            except (CommitFailedError, OSError) as error:
                # Somebody removed a shard since our look at the table, or nobody knows whether the
                # commit landed: look again and decide again.
                failure = one_line(error)
                time.sleep(0.01 * attempt)
                continue
            return self.version()
        raise StoreError(
            f"{_ATTEMPTS} commits to {self.root} in a row failed, the last with: {failure}. Try "
            "again."
        )

    def without(
        self, drop: Where, *, among: Collection[str] | None = None
    ) -> tuple[list[ShardFile], list[str]]:
        """Shards that hold what the table does except some rows, for ``commit(add, remove=…)``.

        Only shards that hold such a row are written again. With ``drop`` naming sources, this is
        how a cured error or an old catalog row leaves the table in the same transaction that
        brings the new one.

        Args:
            drop: Rows to leave out: those for which *every* column named matches.
            among: Paths of the shards that are looked through; all live ones by default.
        """
        added, removed = [], []
        for shard in self._wanted({c: v for c, v in drop.items() if c in self.spec.partition_by}):
            if among is not None and shard.path not in among:
                continue
            rows = read_shard(storage.join(self.root, shard.path)).select(self.spec.schema.names)
            kept = rows.filter(pc.invert(matches(rows, drop)))
            if kept.num_rows == rows.num_rows:
                continue
            removed.append(shard.path)
            if kept.num_rows:
                added.append(write_shard(self.root, kept, inputs={"without": "rows"}))
        return added, removed

    def unreferenced(self, hours: int) -> list[str]:
        """Paths of files that the newest version does not name, whatever older ones do.

        Args:
            hours: Only files that left the table, or were written and never joined it, at least
                so long ago.
        """
        return self._open().vacuum(hours, dry_run=True, enforce_retention_duration=False, full=True)

    def _open(self, version: int | None = None) -> DeltaTable:
        return open_log(self.root, version, made_by=self.spec.made_by)

    def _wanted(self, where: Where, version: int | None = None) -> list[LiveShard]:
        unknown = [column for column in where if column not in self.spec.schema.names]
        if unknown:
            raise UnknownNameError(f"column of {self.name}", unknown[0], self.spec.schema.names)
        partition = {c: listed(v) for c, v in where.items() if c in self.spec.partition_by}
        return [
            shard
            for shard in self.shards(version)
            if all(shard.partition[c] in values for c, values in partition.items())
        ]

    def _schema(self, names: Sequence[str]) -> pa.Schema:
        for name in names:
            if name not in self.spec.schema.names:
                raise UnknownNameError(f"column of {self.name}", name, self.spec.schema.names)
        return pa.schema([self.spec.schema.field(name) for name in names])


def store_versions(store: str) -> dict[str, int]:
    """The newest version of each table that exists: what a training run pins."""
    tables = [StoreTable(store, name) for name in sorted(TABLES)]
    return {table.name: table.version() for table in tables if table.exists()}
