"""What jobs leave behind: a folder of files with a manifest that was written last.

A folder without its manifest is not an artifact, so nothing half done is ever used. Torch-free.
"""

from pipelines.artifacts.fetch import folder_at, get, local_folder, put, sound_folder
from pipelines.artifacts.find import (
    delete,
    find,
    is_complete,
    list_kinds,
    list_names,
    load,
    verify,
)
from pipelines.artifacts.manifest import (
    MADE_BY,
    MANIFEST,
    Artifact,
    artifact_uri,
    code_commit,
    package_versions,
    read_manifest,
    read_tree,
)
from pipelines.artifacts.publish import file_names, publish, seal, stamp

__all__ = [
    "MADE_BY",
    "MANIFEST",
    "Artifact",
    "artifact_uri",
    "code_commit",
    "delete",
    "file_names",
    "find",
    "folder_at",
    "get",
    "is_complete",
    "list_kinds",
    "list_names",
    "load",
    "local_folder",
    "package_versions",
    "publish",
    "put",
    "read_manifest",
    "read_tree",
    "seal",
    "sound_folder",
    "stamp",
    "verify",
]
