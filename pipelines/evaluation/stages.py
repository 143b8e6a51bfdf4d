"""Where the time went."""

import json
from dataclasses import dataclass

from pipelines import storage
from pipelines.errors import StoreError


@dataclass(frozen=True)
class Stage:
    """One job of the run.

    Attributes:
        name: The job.
        seconds: Wall time of its last run that did any work.
    """

    name: str
    seconds: float


_ORDER = (
    "train_text_tokenizer",
    "decode_clips",
    "train_vqgan",
    "train_vqgan_seg",
    "tokenize_clips",
    "pretrain",
    "finetune",
    "generate",
)
"""The way of the data; a job that is not named here comes after these."""


def read_stages(store: str) -> list[Stage]:
    """Time of every job that left a record, in the order of the data's way.

    Raises:
        StoreError: A record is damaged.
    """
    stages = []
    for uri in storage.list_files(storage.join(store, "records")):
        try:
            record = json.loads(storage.read_bytes(uri))
            stages.append(Stage(str(record["job"]), float(record["seconds"])))
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{uri} is no record of a job: delete it and run on.") from error
    # The record of an earlier report is about a page that no longer exists.
    stages = [stage for stage in stages if stage.name != "score"]
    return sorted(stages, key=lambda stage: (_place(stage.name), stage.name))


def _place(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)
