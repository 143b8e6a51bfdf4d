"""One shard: an immutable Parquet file that every reader checks.

A shard's path is the hash of what it was made from, and it is published whole and only once: of
two workers that did the same work the second throws its bytes away and uses the first one's
file, so a retry can neither lose nor double a row.

Damage is found three ways, all inside the file. Pages carry checksums, as the format allows; the
footer holds its own SHA-256, which the format does not offer; and it holds that of all bytes
before it (``seal``). A reader of a small file or of most of a large one checks every byte, a reader
of a few columns checks the footer and the pages it touches.
"""

import hashlib
import io
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from nuwa_model.errors import UnknownNameError
from pipelines import storage
from pipelines.errors import StorageError, StoreError
from pipelines.store.schema import SCHEMA_VERSION, TABLES, TableSpec
from pipelines.store.seal import PLACES, body_sha256, check_whole, damage, read_footer, sealed

WHOLE_READ_BYTES = 1 << 20
"""Files up to this size are read and checked whole: seeking would save little. So are larger ones
of whose bytes, as the footer counts them, the columns wanted are more than half."""

_VERSION_KEY = "nuwa.schema_version"
_PARTITION_VALUE = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True, kw_only=True)
class ShardFile:
    """A published shard, as small as a record can be: this is what workers send back.

    Attributes:
        path: Relative to its table's root.
        size: Bytes.
        num_rows: Rows, at least one.
        body_sha256: Hash of all bytes before the footer; two runs of the same work may differ.
        partition: Values of the table's partition columns.
    """

    path: str
    size: int
    num_rows: int
    body_sha256: str
    partition: Mapping[str, str] = field(default_factory=dict)


def write_shard(table_root: str, rows: pa.Table, *, inputs: Mapping[str, Any]) -> ShardFile:
    """Publish rows as one shard, or find the one that the same work already published.

    Args:
        table_root: Folder of a table of ``TABLES``, such as ``{store}/tokens``.
        rows: At least one row with the table's columns, in any order. A partitioned table's rows
            share the partition's value.
        inputs: What else the rows were made from, as JSON values; the rows' keys and the schema
            are hashed with it.

    Raises:
        StoreError: The rows do not fit the table, or the shard already there is damaged.
        StorageError: The file cannot be written.
    """
    name = table_root.rstrip("/").rsplit("/", 1)[-1]
    spec = _spec(name)
    rows = _canonical(rows, name, spec)
    partition = _partition(rows, name, spec)
    folder = "/".join(f"{column}={value}" for column, value in partition.items())
    path = storage.join(folder, _path(rows, spec, inputs))
    uri = storage.join(table_root, path)
    if not storage.exists(uri):
        storage.put_if_absent(uri, _encode(rows.select(spec.file_schema.names), spec))
    return _describe(uri, path, partition)


def read_shard(uri: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of one shard, partition columns included, once its checksums agree.

    Columns that are younger than the file are null.

    Args:
        uri: The file.
        columns: Columns wanted, in the order wanted; all of them by default.

    Raises:
        StoreError: The file is missing or damaged, lacks a column, or was written by a later
            version of nuwa; it is named.
    """
    # A store may lie below a folder with "=" in its name: only the table's own folder counts.
    partition = dict(part.split("=", 1) for part in uri.split("/")[-3:-2] if "=" in part)
    wanted = None if columns is None else [name for name in columns if name not in partition]
    try:
        with storage.open_file(uri) as file:
            rows = _read_checked(uri, file, wanted)
    except (StorageError, OSError, pa.ArrowException) as error:
        raise StoreError(damage(uri, str(error).splitlines()[0])) from error
    for name in sorted(set(partition) if columns is None else set(partition) & set(columns)):
        rows = rows.append_column(name, pa.repeat(pa.scalar(partition[name]), rows.num_rows))
    return rows if columns is None else rows.select(list(columns))


def check_shard(uri: str) -> None:
    """Check every byte of a shard.

    Raises:
        StoreError: The file is missing or damaged; it is named.
    """
    try:
        data = storage.read_bytes(uri)
    except StorageError as error:
        raise StoreError(damage(uri, str(error))) from error
    check_whole(uri, data)


def _spec(name: str) -> TableSpec:
    if name not in TABLES:
        raise UnknownNameError("table", name, TABLES)
    return TABLES[name]


def _canonical(rows: pa.Table, name: str, spec: TableSpec) -> pa.Table:
    """The rows in the table's types and in the order of their names, whoever made them."""
    if rows.num_rows == 0:
        raise StoreError(f"A shard of {name} needs at least one row; write none for no rows.")
    if set(rows.column_names) != set(spec.schema.names):
        odd = sorted(set(rows.column_names) ^ set(spec.schema.names))
        raise StoreError(
            f"Rows for {name} must have the columns {', '.join(spec.schema.names)}; "
            f"missing or unknown: {', '.join(odd)}."
        )
    try:
        rows = rows.select(spec.schema.names).cast(spec.schema)
    except pa.ArrowInvalid as error:
        raise StoreError(f"Rows for {name} do not fit its schema: {error}.") from error
    return rows.sort_by([(column, "ascending") for column in spec.key])


def _partition(rows: pa.Table, name: str, spec: TableSpec) -> dict[str, str]:
    partition = {}
    for column in spec.partition_by:
        values = rows.column(column).unique().to_pylist()
        if len(values) != 1 or not _PARTITION_VALUE.fullmatch(values[0] or ""):
            raise StoreError(
                f"A shard of {name} holds one {column} of letters, digits, '_', '.' and '-', "
                f"but these rows have {values}."
            )
        partition[column] = values[0]
    return partition


def _path(rows: pa.Table, spec: TableSpec, inputs: Mapping[str, Any]) -> str:
    names = rows.select(list(spec.named_by)).to_pylist()
    made_from = [SCHEMA_VERSION, str(spec.schema), names, dict(inputs)]
    text = json.dumps(made_from, sort_keys=True, ensure_ascii=True, allow_nan=False)
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return f"{digest[:2]}/{digest}.parquet"


def _encode(rows: pa.Table, spec: TableSpec) -> bytes:
    sink = io.BytesIO()
    rows_in_group = max(1, spec.row_group_bytes * rows.num_rows // max(1, rows.nbytes))
    words = [f.name for f in rows.schema if pa.types.is_string(f.type)]
    with pq.ParquetWriter(
        sink,
        rows.schema,
        compression="zstd",
        compression_level=3,
        use_dictionary=words,
        write_page_checksum=True,
        write_statistics=words,
    ) as writer:
        writer.write_table(rows, row_group_size=rows_in_group)
        writer.add_key_value_metadata({_VERSION_KEY: str(SCHEMA_VERSION), **PLACES})
    return sealed(sink.getvalue())


def _read_checked(uri: str, file: BinaryIO, columns: list[str] | None) -> pa.Table:
    source: pa.BufferReader | BinaryIO = file
    metadata = None
    size = file.seek(0, io.SEEK_END)
    if columns is not None and size > WHOLE_READ_BYTES:
        metadata = _metadata(read_footer(uri, file))
    if metadata is None or 2 * _size_of(metadata, columns or ()) > size:
        file.seek(0)
        data = file.read()
        check_whole(uri, data)  # the pages with the rest: they need no check of their own
        source = pa.BufferReader(data)
    pages = source is file
    # No threads of Arrow's: one that lets go of Python's bytes while Python ends aborts the process
    # (apache/arrow 34314, 50482), after all work was done.
    with pq.ParquetFile(
        source, metadata=metadata, page_checksum_verification=pages, pre_buffer=False
    ) as parquet:
        younger = _younger_columns(uri, parquet)
        names = [*parquet.schema_arrow.names, *younger.names] if columns is None else columns
        unknown = sorted(set(names) - {*parquet.schema_arrow.names, *younger.names})
        if unknown:
            raise StoreError(f"{uri} has no column {', '.join(unknown)}.")
        wanted = [name for name in names if name not in younger.names]
        rows = parquet.read(columns=wanted, use_threads=False)
        for column in younger:
            rows = rows.append_column(column, pa.nulls(rows.num_rows, column.type))
        return rows.select(names).replace_schema_metadata(None)


def _metadata(footer: bytes) -> pq.FileMetaData:
    """What a footer says, read from the very bytes that were checked."""
    return pq.read_metadata(io.BytesIO(footer + len(footer).to_bytes(4, "little") + b"PAR1"))


def _size_of(metadata: pq.FileMetaData, columns: Collection[str]) -> int:
    """Bytes that columns take in a file."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    chunks = [group.column(i) for group in groups for i in range(group.num_columns)]
    wanted = [chunk for chunk in chunks if chunk.path_in_schema.split(".")[0] in columns]
    return sum(chunk.total_compressed_size for chunk in wanted)


def _younger_columns(uri: str, parquet: pq.ParquetFile) -> pa.Schema:
    """Columns that the table got after the file was written."""
    version = int((parquet.metadata.metadata or {}).get(_VERSION_KEY.encode(), b"1"))
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{uri} has schema version {version}, but this version of nuwa reads up to "
            f"{SCHEMA_VERSION}: use the version that wrote it, or a later one."
        )
    table = next((part for part in uri.split("/")[-3:-5:-1] if part in TABLES), "")
    if version == SCHEMA_VERSION or not table:
        return pa.schema([])
    known = {*parquet.schema_arrow.names, *TABLES[table].partition_by}
    return pa.schema([field for field in TABLES[table].schema if field.name not in known])


def _describe(uri: str, path: str, partition: dict[str, str]) -> ShardFile:
    with storage.open_file(uri) as file:
        footer = read_footer(uri, file)
        return ShardFile(
            path=path,
            size=file.seek(0, io.SEEK_END),
            num_rows=pq.read_metadata(file).num_rows,
            body_sha256=body_sha256(footer),
            partition=partition,
        )
