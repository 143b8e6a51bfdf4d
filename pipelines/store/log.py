"""The Delta log of a table, on a disk or in a bucket."""

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa
from deltalake import DeltaTable, Schema
from deltalake.exceptions import DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction

from pipelines import storage
from pipelines.errors import StorageError, StoreError
from pipelines.store.schema import TableSpec
from pipelines.store.shards import ShardFile

Result = TypeVar("Result")

_ATTEMPTS = 6
_COLORS = re.compile(r"\x1b\[[\d;]*m")
_CONFIGURATION: Mapping[str, str | None] = {
    # A run may come back to the version it pinned long ago; the log itself is small.
    "delta.logRetentionDuration": "interval 520 weeks",
}


@dataclass(frozen=True, kw_only=True)
class LiveShard:
    """A shard as one version of the table lists it."""

    path: str
    size: int
    num_rows: int
    partition: Mapping[str, str]


def log_exists(root: str) -> bool:
    """Whether anything was ever committed to the table at a uri."""
    if not storage.exists(storage.join(root, "_delta_log")):
        return False
    options = storage.delta_options(root)
    return patiently(root, lambda: DeltaTable.is_deltatable(root, options))


def open_log(root: str, version: int | None, *, made_by: str) -> DeltaTable:
    """The table at a uri.

    Raises:
        StoreError: There is none, or no such version; the flow that makes it is named.
        StorageError: It cannot be reached.
    """
    options = storage.delta_options(root)
    try:
        return patiently(root, lambda: DeltaTable(root, version=version, storage_options=options))
    except TableNotFoundError as error:
        raise StoreError(f"There is no table {root}: run the flow {made_by} first.") from error
    except DeltaError as error:
        what = "" if version is None else f" at version {version}"
        raise StoreError(f"Cannot read the log of {root}{what}: {one_line(error)}.") from error


def open_or_create_log(root: str, spec: TableSpec) -> DeltaTable:
    """The table at a uri, made without rows if there is none.

    Raises:
        StoreError: Its log cannot be read.
        StorageError: It cannot be reached.
    """
    if not log_exists(root):
        try:
            return _create_log(root, spec.schema, spec.partition_by)
        except DeltaError:
            if not log_exists(root):  # otherwise another writer created it in this moment
                raise
    return open_log(root, None, made_by=spec.made_by)


def add_younger_columns(table: DeltaTable, schema: pa.Schema) -> bool:
    """Tell other readers of columns that joined since the table was created, if any did."""
    known = {column.name for column in table.schema().fields}
    fields = Schema.from_arrow(schema).fields
    if younger := [column for column in fields if column.name not in known]:
        table.alter.add_columns(younger)
    return bool(younger)


def live_shards(table: DeltaTable, partition_by: Sequence[str]) -> list[LiveShard]:
    """Shards that a version lists, sorted by path."""
    actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    shards = [
        LiveShard(
            path=action["path"],
            size=action["size_bytes"],
            num_rows=action["num_records"],
            partition={column: action[f"partition.{column}"] for column in partition_by},
        )
        for action in actions
    ]
    return sorted(shards, key=lambda shard: shard.path)


def add_action(shard: ShardFile) -> AddAction:
    """The entry of the log that makes a shard live."""
    return AddAction(
        path=shard.path,
        size=shard.size,
        partition_values=dict(shard.partition),
        modification_time=time.time_ns() // 1_000_000,
        data_change=True,
        stats=json.dumps({"numRecords": shard.num_rows}),
    )


def remove_action(shard: LiveShard) -> RemoveAction:
    """The entry of the log that takes a shard out."""
    return RemoveAction(
        path=shard.path,
        data_change=True,
        deletion_timestamp=time.time_ns() // 1_000_000,
        size=shard.size,
        partition_values=dict(shard.partition),
    )


def patiently(root: str, call: Callable[[], Result]) -> Result:
    """Call what may be repeated; deltalake does not ask again for an answer that broke off.

    Raises:
        StorageError: It failed to the end.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return call()
        except OSError as error:
            if attempt == _ATTEMPTS - 1 or storage.is_local(root):
                raise StorageError(f"Cannot reach the log of {root}: {one_line(error)}.") from error
            time.sleep(0.05 * 2**attempt)
    raise AssertionError("the loop returns or raises")


def one_line(error: Exception) -> str:
    """An error in one line, without colors."""
    return " ".join(_COLORS.sub("", str(error)).split()).rstrip(".")


def _create_log(root: str, schema: pa.Schema, partition_by: Sequence[str]) -> DeltaTable:
    """A table without rows, unless one is there.

    Raises:
        DeltaError: Another writer created it in this moment.
        StorageError: It cannot be reached.
    """
    options = storage.delta_options(root)
    return patiently(
        root,
        lambda: DeltaTable.create(
            root,
            schema=Schema.from_arrow(schema),
            mode="ignore",
            partition_by=list(partition_by),
            configuration=dict(_CONFIGURATION),
            storage_options=options,
        ),
    )
