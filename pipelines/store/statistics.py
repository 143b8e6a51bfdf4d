"""What a store holds, in numbers."""

import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines import artifacts, storage
from pipelines.store.size import TableSize, existing_tables, table_sizes, tokenizer_sizes
from pipelines.store.sources import read_sources
from pipelines.store.table import StoreTable

_MOST_TOKENS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class TokenizerUse:
    """How one tokenizer's tokens use its codebook.

    Attributes:
        tokenizer: Its fingerprint.
        artifact: Kind and name of the tokenizer, or empty if the store has it no longer.
        rows: Clips and sketches that it tokenized.
        files: Files that hold them.
        bytes: Of these files.
        tokens: Tokens in all.
        bits_per_token: Bits of file a token, text and names included.
        codebook_size: Tokens that there are; 0 if the store has the tokenizer no longer.
        codes_used: Tokens that occur.
        perplexity: Two to the entropy in bits: as many equally frequent tokens would be as mixed.
        most_frequent_share: Share of the most frequent token, 0 to 1.
    """

    tokenizer: str
    artifact: str
    rows: int
    files: int
    bytes: int
    tokens: int
    bits_per_token: float
    codebook_size: int
    codes_used: int
    perplexity: float
    most_frequent_share: float


@dataclass(frozen=True, kw_only=True)
class ClipCount:
    """Clips of one data set, split and kind; the split is the catalog's."""

    dataset: str
    split: str
    kind: str
    clips: int


@dataclass(frozen=True, kw_only=True)
class SourceCount:
    """What became of the sources of one data set."""

    dataset: str
    sources: int
    with_clips: int
    with_errors: int
    frames_read: int
    frames_left: int


@dataclass(frozen=True, kw_only=True)
class ErrorCount:
    """Sources that ended in one kind of error."""

    code: str
    is_transient: bool
    sources: int


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """All that ``nuwa store stat`` says."""

    tables: list[TableSize]
    sources: list[SourceCount]
    clips: list[ClipCount]
    tokenizers: list[TokenizerUse]
    errors: list[ErrorCount]


def read_statistics(store: str) -> Statistics:
    """Read what the tables hold, all tokens included.

    Raises:
        StoreError: There is no store, or a shard is damaged.
    """
    tables = existing_tables(store)
    return Statistics(
        tables=table_sizes(store),
        sources=_sources(tables),
        clips=_clips(store, tables),
        tokenizers=_tokenizers(store, tables),
        errors=_errors(tables),
    )


def known_tokenizers(store: str) -> dict[str, artifacts.Artifact]:
    """The tokenizer artifacts of a store, by fingerprint; a folder put as one has none."""
    found = [
        artifacts.load(artifacts.artifact_uri(store, kind, name))
        for kind in ("vqgan", "vqgan_seg")
        for name in artifacts.list_names(store, kind)
    ]
    known = ((artifact.metadata.get("fingerprint", ""), artifact) for artifact in found)
    return {fingerprint: artifact for fingerprint, artifact in known if fingerprint}


def _sources(tables: dict[str, StoreTable]) -> list[SourceCount]:
    if "catalog" not in tables:
        return []
    columns = ["dataset", "source_uri", "num_clips", "frames_read", "frames_left"]
    catalog = _rows(tables, "catalog", columns)
    failed = {(r["dataset"], r["source_uri"]) for r in _rows(tables, "errors", columns[:2])}
    counts = []
    for dataset in sorted({row["dataset"] for row in catalog}):
        own = [row for row in catalog if row["dataset"] == dataset]
        counts.append(
            SourceCount(
                dataset=dataset,
                sources=len(own),
                with_clips=sum(row["num_clips"] > 0 for row in own),
                with_errors=sum((dataset, row["source_uri"]) in failed for row in own),
                frames_read=sum(row["frames_read"] for row in own),
                frames_left=sum(row["frames_left"] for row in own),
            )
        )
    return counts


def _clips(store: str, tables: dict[str, StoreTable]) -> list[ClipCount]:
    if "clips" not in tables:
        return []
    columns = ["dataset", "split", "kind", "source_sha256"]
    groups = tables["clips"].read(columns).group_by(columns).aggregate([([], "count_all")])
    sources = read_sources(store)
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in groups.to_pylist():
        source = sources.get((row["dataset"], row["source_sha256"]))
        split = source.split if source else row["split"]
        counts[row["dataset"], split, row["kind"]] += row["count_all"]
    return [
        ClipCount(dataset=dataset, split=split, kind=kind, clips=clips)
        for (dataset, split, kind), clips in sorted(counts.items())
    ]


def _errors(tables: dict[str, StoreTable]) -> list[ErrorCount]:
    rows = _rows(tables, "errors", ["code", "is_transient"])
    counts = Counter((row["code"], row["is_transient"]) for row in rows)
    return [
        ErrorCount(code=code, is_transient=is_transient, sources=sources)
        for (code, is_transient), sources in counts.most_common()
    ]


def _rows(tables: dict[str, StoreTable], name: str, columns: list[str]) -> list[dict[str, Any]]:
    return tables[name].read(columns).to_pylist() if name in tables else []


def _tokenizers(store: str, tables: dict[str, StoreTable]) -> list[TokenizerUse]:
    known = known_tokenizers(store)
    uses = []
    for fingerprint, size in tokenizer_sizes(store).items():
        counts = np.zeros(_MOST_TOKENS, np.int64)
        for rows in tables["tokens"].iter_shards(["tokens"], where={"tokenizer": fingerprint}):
            counts += np.bincount(_tokens(rows), minlength=_MOST_TOKENS)
        artifact = known.get(fingerprint)
        uses.append(
            TokenizerUse(
                tokenizer=fingerprint,
                artifact=f"{artifact.kind}/{artifact.name}" if artifact else "",
                codebook_size=_codebook_size(artifact) if artifact else 0,
                bits_per_token=round(8 * size["bytes"] / max(1, counts.sum()), 3),
                **size,
                **_codebook_use(counts),
            )
        )
    return uses


def _tokens(rows: pa.Table) -> NDArray[np.uint16]:
    return np.frombuffer(b"".join(rows.column("tokens").to_pylist()), "<u2")


def _codebook_use(counts: NDArray[np.int64]) -> dict[str, Any]:
    shares = counts[counts > 0] / max(1, counts.sum())
    return {
        "tokens": int(counts.sum()),
        "codes_used": len(shares),
        "perplexity": round(math.exp(-(shares * np.log(shares)).sum()), 2),
        "most_frequent_share": round(float(shares.max(initial=0)), 4),
    }


def _codebook_size(artifact: artifacts.Artifact) -> int:
    config = json.loads(storage.read_bytes(storage.join(artifact.root, "config.json")))
    return int(config["codebook_size"])
