"""``nuwa artifacts``: look at what a store holds, and carry it to and from other places."""

import argparse
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.parsers import Subparsers
from nuwa_model.errors import NuwaError, UnknownNameError

if TYPE_CHECKING:
    from pipelines.artifacts import Artifact
    from pipelines.storage import Advance

_WHERE = "a folder, or s3://bucket/prefix"


def add_commands(commands: Subparsers) -> None:
    """Add ``artifacts`` and what it can do to the commands of ``nuwa``."""
    parser = commands.add_parser("artifacts", help="list, copy and check what jobs made")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("ls", help="list the artifacts of a store")
    listing.add_argument("store", metavar="STORE", help=_WHERE)
    listing.add_argument("--kind", help="only of this kind, such as vqgan")
    showing = actions.add_parser("show", help="say what an artifact is and what made it")
    showing.add_argument("artifact", metavar="ARTIFACT", help=_WHERE)
    getting = actions.add_parser("get", help="copy an artifact into a folder; repeat to go on")
    getting.add_argument("artifact", metavar="ARTIFACT", help=_WHERE)
    getting.add_argument("folder", metavar="FOLDER", type=Path)
    putting = actions.add_parser("put", help="copy a folder into a store; repeat to go on")
    putting.add_argument("folder", metavar="FOLDER", type=Path)
    putting.add_argument("store", metavar="STORE", help=_WHERE)
    putting.add_argument("--kind", default="", help="for a folder that `get` did not make")
    putting.add_argument("--name", default="", help="for a folder that `get` did not make")
    importing = actions.add_parser("import", help="make an artifact of a published tokenizer")
    what = "a checkpoint of taming-transformers, or CLIP's bpe_simple_vocab_16e6.txt.gz"
    importing.add_argument("file", metavar="FILE", type=Path, help=what)
    importing.add_argument("store", metavar="STORE", help=_WHERE)
    importing.add_argument("--name", default="", help="of the artifact")
    checking = actions.add_parser("verify", help="hash every file again; exit code 1 if one is bad")
    checking.add_argument("place", metavar="PLACE", help="a store, or one artifact")
    for action in (listing, showing, checking):
        action.add_argument("--json", action="store_true", help="for programs")
    calls = {listing: _ls, showing: _show, getting: _get, putting: _put, checking: _verify}
    calls[importing] = _import
    for action, call in calls.items():
        action.set_defaults(call=call)


def _ls(arguments: argparse.Namespace) -> None:
    from pipelines import artifacts

    kinds = [arguments.kind] if arguments.kind else artifacts.list_kinds(arguments.store)
    found = [_summary(uri) for kind in kinds for uri in _uris(arguments.store, kind)]
    if arguments.json:
        print(json.dumps(found, indent=1))
        return
    for one in found:
        told = one.get("problem") or f"{one['files']:>6} files {_megabytes(one['bytes']):>10}"
        print(f"{told}  {one['uri']}")
    if not found:
        print(f"{arguments.store} has no artifacts.")


def _show(arguments: argparse.Namespace) -> None:
    from pipelines import artifacts

    tree = {"uri": arguments.artifact, **artifacts.read_tree(arguments.artifact)}
    if arguments.json:
        print(json.dumps(tree, indent=1, ensure_ascii=False))
        return
    files = tree.pop("files")
    for key in ("uri", "kind", "name", "created", "code_commit", "metadata", "versions"):
        value = tree.get(key, "")
        print(f"{key:<12} {value if isinstance(value, str) else _plain(value)}")
    for name, record in sorted(files.items()):
        print(f"{_megabytes(record['size']):>12} {record['sha256'][:12]} {name}")


def _get(arguments: argparse.Namespace) -> None:
    from pipelines import artifacts

    total = artifacts.read_manifest(arguments.artifact).num_bytes
    with _progress("get", total) as advance:
        made = artifacts.get(arguments.artifact, arguments.folder, advance)
    print(f"{made.kind} {made.name}: {_told(made)} in {arguments.folder}")


def _put(arguments: argparse.Namespace) -> None:
    from pipelines import artifacts

    if arguments.kind and arguments.kind not in artifacts.MADE_BY:
        raise UnknownNameError("kind of artifact", arguments.kind, artifacts.MADE_BY)
    names = artifacts.file_names(arguments.folder)
    total = sum((arguments.folder / name).stat().st_size for name in names)
    with _progress("put", total) as advance:
        made = artifacts.put(
            arguments.folder, arguments.store, arguments.kind, arguments.name, advance
        )
    print(f"{made.kind} {made.name}: {_told(made)} in {made.uri}")


def _import(arguments: argparse.Namespace) -> None:
    import yaml

    from pipelines.published import import_published

    imported = import_published(arguments.file, arguments.store, arguments.name)
    made = imported.artifact
    verb = "is already there:" if imported.was_there else "is made:"
    print(f"{made.kind} {made.name} {verb} {_told(made)} in {made.uri}")
    settings = yaml.safe_dump(dict(imported.settings), sort_keys=False, default_flow_style=None)
    print(f"To use it, put this into the run file:\n\n{settings}", end="")


def _verify(arguments: argparse.Namespace) -> None:
    from pipelines import artifacts
    from pipelines.progress import Progress

    uris = [arguments.place]
    kinds = artifacts.list_kinds(arguments.place)
    if kinds:
        uris = [uri for kind in kinds for uri in _uris(arguments.place, kind)]
    told = []
    with redirect_stdout(sys.stderr), Progress("verify", len(uris)) as progress:
        for uri in uris:
            told.append({"uri": uri, "problem": _problem(uri)})
            progress.advance()
    bad = [one for one in told if one["problem"]]
    if arguments.json:
        print(json.dumps(told, indent=1))
    else:
        print(*(one["problem"] for one in bad), f"{len(told) - len(bad)} sound", sep="\n")
    sys.exit(1 if bad else 0)


def _problem(uri: str) -> str:
    from pipelines import artifacts

    try:
        artifacts.verify(artifacts.read_manifest(uri))
    except NuwaError as error:
        return str(error)
    return ""


def _uris(store: str, kind: str) -> list[str]:
    from pipelines import artifacts

    names = artifacts.list_names(store, kind)
    return [artifacts.artifact_uri(store, kind, name) for name in names]


def _summary(uri: str) -> dict[str, Any]:
    from pipelines import artifacts

    try:
        one = artifacts.read_manifest(uri)
    except NuwaError as error:
        return {"uri": uri, "problem": str(error)}
    return {
        "uri": uri,
        "kind": one.kind,
        "name": one.name,
        "files": len(one.files),
        "bytes": one.num_bytes,
    }


@contextmanager
def _progress(what: str, num_bytes: int) -> Iterator["Advance"]:
    """Megabytes moved so far, told by any thread."""
    from pipelines.progress import Progress

    moved, shown, lock = 0, 0, threading.Lock()

    def advance(more: int) -> None:
        nonlocal moved, shown
        with lock:
            moved += more
            if moved // 1_000_000 > shown:
                progress.advance(moved // 1_000_000 - shown)
                shown = moved // 1_000_000

    with redirect_stdout(sys.stderr), Progress(f"{what} MB", num_bytes // 1_000_000) as progress:
        yield advance


def _told(artifact: "Artifact") -> str:
    return f"{len(artifact.files)} files, {_megabytes(artifact.num_bytes)},"


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.2f} MB"


def _plain(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]} … (--json shows all)"
