"""Job: learn the text tokenizer from the captions of the data set, once."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nuwa_model.tokenizers.text import TextTokenizer
from pipelines import artifacts, names
from pipelines.command import run_job
from pipelines.config import RunConfig, config_tree
from pipelines.run_tokenizers import find_tokenizer
from pipelines.store.table import StoreTable

KIND = "text_tokenizer"
NO_TEXT = "None"
"""The condition of a task without text (Wu et al. 2021): part of every vocabulary."""


def train_text_tokenizer(config: RunConfig) -> dict[str, Any]:
    """Learn the text tokenizer from the captions of the data set, once.

    While there are none, one that knows only bytes and the absent text takes its place. Where the
    settings give one, there is nothing to learn.
    """
    if config.text_tokenizer:
        uri = find_tokenizer(config, KIND).uri
        print(f"text tokenizer given: {uri}")
        return {"was_complete": True, "artifact": uri}
    captions: list[str] = []
    name = names.text_tokenizer_name(config)
    if not artifacts.is_complete(config.store, KIND, name):
        captions = read_captions(config.store)
        name = names.text_tokenizer_name(config, has_captions=bool(captions))
    uri = artifacts.artifact_uri(config.store, KIND, name)
    if artifacts.is_complete(config.store, KIND, name):
        print(f"text tokenizer already complete: {uri}")
        return {"was_complete": True, "artifact": uri}
    tokenizer = TextTokenizer.train(
        [*captions, NO_TEXT], config.model.text_vocabulary, config.model.text_length
    )
    metadata = {"captions": len(captions), "vocabulary": tokenizer.vocabulary}
    with TemporaryDirectory() as folder:
        tokenizer.save_pretrained(Path(folder))
        artifacts.publish(
            config.store, KIND, name, folder, config=config_tree(config), metadata=metadata
        )
    print(f"text tokenizer of {tokenizer.vocabulary} tokens from {len(captions)} captions: {uri}")
    return {"was_complete": False, "artifact": uri, **metadata}


def read_captions(store: str) -> list[str]:
    """All captions for training; those held out stay unseen.

    The catalog has every caption once. A store that was filled without one has them in its clips.
    """
    tables = (StoreTable(store, name) for name in ("catalog", "clips"))
    for table in tables:
        if table.exists():
            rows = table.read(["text"], where={"split": "train"})
            return [text for texts in rows.column("text").to_pylist() for text in texts or ()]
    return []


if __name__ == "__main__":
    run_job(train_text_tokenizer)
