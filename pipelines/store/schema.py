"""What the four tables hold: columns, keys and layout, in one place.

Times are microseconds since the first frame, sizes bytes. Delta has no unsigned and no
fixed-shape type, so tokens are bytes with their grid beside them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

SCHEMA_VERSION = 2
"""Raised when a column changes its meaning or a nullable one joins; part of every shard's path and
kept in its footer. Readers fill what older shards lack with nulls and refuse newer ones."""

CLIPS = pa.schema(
    {
        "clip_id": pa.string(),  # hash of source sha256, start, decode rule and sketch
        "dataset": pa.string(),
        "split": pa.string(),  # train or validation
        "kind": pa.string(),  # image, video, image_sketch or video_sketch
        "source_uri": pa.string(),
        "source_sha256": pa.string(),
        "start_us": pa.int64(),
        "text": pa.list_(pa.string()),  # captions; empty where there are none
        "frames": pa.list_(pa.binary()),  # encoded pictures
        "frame_times_us": pa.list_(pa.int64()),  # of the source frames taken
        "is_short": pa.bool_(),
        "decode_rule": pa.string(),
    }
)

TOKENS = pa.schema(
    {
        "clip_id": pa.string(),
        "dataset": pa.string(),
        "split": pa.string(),
        "kind": pa.string(),
        "tokens": pa.binary(),  # little-endian uint16, C order s·h·w
        "grid_s": pa.int32(),
        "grid_h": pa.int32(),
        "grid_w": pa.int32(),
        "text": pa.list_(pa.string()),
        "tokenizer": pa.string(),  # fingerprint
    }
)

ERRORS = pa.schema(
    {
        "dataset": pa.string(),
        "source_uri": pa.string(),
        "source_sha256": pa.string(),
        "stage": pa.string(),
        "code": pa.string(),  # one of pipelines.errors.ERROR_CODES
        "detail": pa.string(),
        "is_transient": pa.bool_(),
    }
)

CATALOG = pa.schema(
    {
        "dataset": pa.string(),
        "source_uri": pa.string(),
        "size": pa.int64(),
        "modified_ns": pa.int64(),
        "sha256": pa.string(),
        "split": pa.string(),
        "kind": pa.string(),  # image or video
        "text": pa.list_(pa.string()),
        "sketch_uri": pa.string(),
        "frames_read": pa.int32(),
        "num_clips": pa.int32(),
        "frames_left": pa.int32(),
        "is_gone": pa.bool_(),  # the data set has it no more; since schema version 2
    }
)


@dataclass(frozen=True, kw_only=True)
class TableSpec:
    """How one table is laid out.

    Attributes:
        schema: Its columns.
        key: Columns that name a row; no two live rows share them.
        named_by: Columns whose values, with the caller's inputs, make a shard's path. Rows that
            are equal here are the same work, even where their bytes differ a little.
        partition_by: Columns kept in the path and not in the file.
        row_group_bytes: Wanted size of a row group before compression.
        made_by: The flow that fills it, for messages.
    """

    schema: pa.Schema
    key: tuple[str, ...]
    named_by: tuple[str, ...]
    partition_by: tuple[str, ...] = ()
    row_group_bytes: int = 1 << 20
    made_by: str = "prepare-data"

    @property
    def file_schema(self) -> pa.Schema:
        """The columns that a shard's file holds: all but the partition's."""
        return pa.schema([field for field in self.schema if field.name not in self.partition_by])


TABLES: Mapping[str, TableSpec] = {
    "clips": TableSpec(
        schema=CLIPS,
        key=("dataset", "clip_id", "kind"),
        named_by=("dataset", "clip_id", "kind", "source_uri"),
        row_group_bytes=8 << 20,
    ),
    "tokens": TableSpec(
        schema=TOKENS,
        key=("dataset", "clip_id", "kind", "tokenizer"),
        named_by=("dataset", "clip_id", "kind", "tokenizer"),
        partition_by=("tokenizer",),
        made_by="tokenize",
    ),
    "errors": TableSpec(schema=ERRORS, key=("dataset", "source_uri"), named_by=tuple(ERRORS.names)),
    "catalog": TableSpec(
        schema=CATALOG, key=("dataset", "source_uri"), named_by=tuple(CATALOG.names)
    ),
}
