"""``nuwa store``: look at a store, check it, tidy it, and take clips out of it."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from typing import Any

from flows.parsers import Subparsers
from flows.store_tables import print_sizes, print_statistics, print_vacuum
from flows.tables import print_table

Arguments = argparse.Namespace


def add_commands(commands: Subparsers) -> None:
    """Add ``store`` and all that can be done to one; none of it loads torch but ``show``."""
    store = commands.add_parser("store", help="look at, check and tidy a store")
    actions = store.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add(actions, "ls", _ls, "tables, and whose tokens there are", has_json=True)
    _add(actions, "stat", _stat, "clips, tokens, errors in numbers (reads tokens)", has_json=True)
    verify = _add(
        actions, "verify", _verify, "check every byte, account for sources", has_json=True
    )
    verify.add_argument("--repair", action="store_true", help="take damaged files out")
    history = _add(actions, "history", _history, "what each commit did", has_json=True)
    history.add_argument("--table", metavar="NAME", help="one table only")
    _add_vacuum(actions)
    _add(actions, "compact", _compact, "merge small files; rows stay as they are", has_json=True)
    export = _add(actions, "export", _export, "write clips for other tools", has_json=True)
    export.add_argument("target", metavar="TARGET", help="folder, or s3://bucket/prefix")
    export.add_argument("--format", required=True, help="webdataset or parquet")
    export.add_argument(
        "--tokenizer", metavar="FINGERPRINT", action="append", default=[],
        help="whose tokens go along (repeat it for that of the sketches)",
    )  # fmt: skip
    export.add_argument(
        "--verify", action="store_true", help="hash what is there, make damaged files again"
    )
    show = _add(actions, "show", _show, "draw a clip: frames, sketch, tokens, reconstruction")
    show.add_argument("clip", metavar="CLIP", help="clip id, or how it begins")
    show.add_argument("--out", metavar="FILE", default="", help="PNG to write (CLIP.png)")


def _add_vacuum(actions: Subparsers) -> None:
    vacuum = _add(actions, "vacuum", _vacuum, "files that nobody needs (a dry run)", has_json=True)
    vacuum.add_argument("--delete", action="store_true", help="delete them")
    vacuum.add_argument(
        "--tokenizer", metavar="FINGERPRINT", default="", help="first take its tokens out"
    )
    vacuum.add_argument(
        "--retention-hours", type=float, default=168, metavar="H",
        help="keep what was live within so many hours (%(default)s)",
    )  # fmt: skip
    vacuum.add_argument(
        "--grace-hours", type=int, default=24, metavar="H",
        help="keep what was written within so many hours (%(default)s)",
    )  # fmt: skip


def _add(
    actions: Subparsers,
    name: str,
    call: Callable[[Arguments], None],
    what: str,
    *,
    has_json: bool = False,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=what, description=what)
    parser.add_argument("store", metavar="STORE", help="folder of the store, such as demo")
    if has_json:
        parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(call=call)
    return parser


def _ls(arguments: Arguments) -> None:
    from pipelines.store.size import table_sizes, tokenizer_sizes

    tables, tokenizers = table_sizes(arguments.store), tokenizer_sizes(arguments.store)
    if arguments.json:
        _print_json({"tables": tables, "tokenizers": tokenizers})
        return
    print_sizes(tables)
    if tokenizers:
        print()
        print_table(
            ["tokens of tokenizer", "rows", "files", "bytes"],
            [[name, *size.values()] for name, size in tokenizers.items()],
        )


def _stat(arguments: Arguments) -> None:
    from pipelines.store.statistics import read_statistics

    found = read_statistics(arguments.store)
    if arguments.json:
        _print_json(found)
    else:
        print_statistics(found)


def _verify(arguments: Arguments) -> None:
    from pipelines.store.size import existing_tables
    from pipelines.store.verify import repair_store, verify_store

    existing_tables(arguments.store)
    repaired = repair_store(arguments.store) if arguments.repair else []
    problems = verify_store(arguments.store)
    if arguments.json:
        _print_json({"repaired": repaired, "problems": problems})
    else:
        print(*repaired, *problems, sep="\n", end="\n" if repaired or problems else "")
        if not problems:
            print("Every byte is as it was written, and every source is accounted for.")
    if problems:
        sys.exit(1)


def _history(arguments: Arguments) -> None:
    from nuwa_model.errors import UnknownNameError
    from pipelines.store.history import read_history
    from pipelines.store.size import existing_tables

    tables = existing_tables(arguments.store)
    if arguments.table and arguments.table not in tables:
        raise UnknownNameError("table of this store", arguments.table, tables)
    rows = [
        {
            "table": name,
            "version": commit.version,
            "time": commit.time.isoformat(timespec="seconds"),
            "operation": commit.operation.lower(),
            "files_added": len(commit.added),
            "files_removed": len(commit.removed),
            "rows": commit.num_rows,
        }
        for name, table in tables.items()
        if arguments.table in (None, name)
        for commit in read_history(table)
    ]
    if arguments.json:
        _print_json(rows)
    else:
        headers = ["table", "version", "time", "operation", "files added", "removed", "rows"]
        print_table(headers, [list(row.values()) for row in rows])


def _vacuum(arguments: Arguments) -> None:
    from pipelines.store.vacuum import vacuum_store

    found = vacuum_store(
        arguments.store,
        retention_hours=arguments.retention_hours,
        grace_hours=arguments.grace_hours,
        tokenizer=arguments.tokenizer,
        delete=arguments.delete,
    )
    if arguments.json:
        _print_json(found)
        return
    verb = "were" if found.is_deleted else "would be"
    if found.old_rows:
        print(f"{found.old_rows:,} rows of clips that are gone {verb} taken out of tokens.")
    if arguments.tokenizer:
        print(f"{found.rows:,} rows of {arguments.tokenizer} {verb} taken out of tokens.")
    print_vacuum(found)


def _compact(arguments: Arguments) -> None:
    from pipelines.store.compact import compact_store

    done = compact_store(arguments.store)
    if arguments.json:
        _print_json(done)
        return
    print_table(
        ["table", "files before", "files", "rows"], [list(asdict(d).values()) for d in done]
    )
    print("The old files stay for those who read older versions, until vacuum deletes them.")


def _export(arguments: Arguments) -> None:
    from pipelines.store.export import export_store

    made = export_store(
        arguments.store,
        arguments.target,
        arguments.format,
        tokenizers=arguments.tokenizer,
        is_hashed=arguments.verify,
    )
    if arguments.json:
        _print_json(made)
        return
    for name, problem in made.problems.items():
        print(f"{name} was made again, it had been damaged: {problem}.")
    if not made.written:
        print("All was there already.")
    elif made.written < made.files:
        print(f"Files that were there already: {made.files - made.written:,}.")
    print(f"{made.clips:,} clips in {made.files:,} files, {made.bytes:,} bytes: {arguments.target}")


def _show(arguments: Arguments) -> None:
    from pipelines.store.show import show_clip

    print(show_clip(arguments.store, arguments.clip, arguments.out))


def _print_json(record: object) -> None:
    print(json.dumps(record, default=_plain, ensure_ascii=False, indent=1))


def _plain(value: object) -> dict[str, Any]:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value)} is no JSON")
