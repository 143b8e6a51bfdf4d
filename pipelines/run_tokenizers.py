"""The tokenizers of a run: those that its settings give, else the store's own. Torch-free."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from nuwa_model.config import NuwaConfig
from nuwa_model.errors import ConfigError
from pipelines import artifacts, names, storage
from pipelines.artifacts import Artifact
from pipelines.config import RunConfig
from pipelines.errors import ArtifactError

GIVEN_BY: Mapping[str, str] = {
    "vqgan": "tokenizer",
    "vqgan_seg": "sketch_tokenizer",
    "text_tokenizer": "text_tokenizer",
}
"""The setting that gives the artifact of a kind."""

_OWN: Mapping[str, Callable[[RunConfig], str]] = {
    "vqgan": names.vqgan_name,
    "vqgan_seg": names.vqgan_seg_name,
    "text_tokenizer": names.text_tokenizer_name,
}


def given(config: RunConfig, kind: str) -> str:
    """The artifact of a kind that the settings give; empty if the store's own is meant."""
    name: str = getattr(config, GIVEN_BY[kind]) if kind in GIVEN_BY else ""
    return name


def find_tokenizer(config: RunConfig, kind: str, own: str = "") -> Artifact:
    """The artifact of a kind that a run uses.

    Args:
        config: Settings of the run.
        kind: ``vqgan``, ``vqgan_seg`` or ``text_tokenizer``.
        own: Name of the store's own, if it is not the one of the settings.

    Raises:
        ArtifactError: It is missing or damaged, or several could be meant.
        ConfigError: It has another shape than the settings say.
    """
    own = own or _OWN[kind](config)
    artifact = artifacts.find(config.store, kind, own, given(config, kind))
    if kind == "text_tokenizer":
        length = _config_of(artifact, "length")["length"]
        refuse_text(artifact.uri, artifact.metadata.get("vocabulary", 0), length, config.model)
    else:
        _refuse_pictures(config, artifact)
    return artifact


def find_sketch_tokenizer(config: RunConfig) -> Artifact | None:
    """The sketch tokenizer that a run uses, if one is given or the store has any.

    Raises:
        ArtifactError: As ``find_tokenizer`` does.
        ConfigError: As ``find_tokenizer`` does.
    """
    if config.sketch_tokenizer or artifacts.list_names(config.store, "vqgan_seg"):
        return find_tokenizer(config, "vqgan_seg")
    return None


def refuse_given(config: RunConfig) -> None:
    """Refuse tokenizers that the settings give and that are not there or do not fit them.

    Raises:
        ArtifactError: As ``find_tokenizer`` does.
        ConfigError: As ``find_tokenizer`` does.
    """
    for kind in GIVEN_BY:
        if given(config, kind):
            find_tokenizer(config, kind)


def fingerprint_of(artifact: Artifact) -> str:
    """The fingerprint of a tokenizer of pictures, which names its rows of tokens.

    Raises:
        ArtifactError: The manifest tells none, as that of a folder that was put as it is.
    """
    told: str = artifact.metadata.get("fingerprint", "")
    if not told:
        raise ArtifactError(
            f"{artifact.uri} does not say its fingerprint: put a folder that `nuwa artifacts get` "
            "made, or import its checkpoint with `nuwa artifacts import`."
        )
    return told


def refuse_text(where: str, vocabulary: int, length: int, model: NuwaConfig) -> None:
    """Refuse a text tokenizer that a model has no room for.

    Args:
        where: The tokenizer's place.
        vocabulary: Its number of tokens; 0 if that is not known.
        length: Tokens of a text.
        model: What is to read them.

    Raises:
        ConfigError: It has too many tokens, or texts of another length.
    """
    if vocabulary > model.text_vocabulary or length != model.text_length:
        raise ConfigError(
            f"The text tokenizer {where} has {vocabulary or 'some'} tokens in texts of {length}, "
            f"but the model {model.text_vocabulary} in texts of {model.text_length}: set "
            f"model.text_vocabulary={max(vocabulary, model.text_vocabulary)} and "
            f"model.text_length={length}, or name another tokenizer."
        )


def _refuse_pictures(config: RunConfig, artifact: Artifact) -> None:
    """Refuse a VQ-GAN whose tokens the model and the grid of these settings are not made for.

    What else decides its shape, such as its width, matters to nobody but itself.
    """
    kind = artifact.kind
    shape = _config_of(artifact, "codebook_size", "codebook_dim", "width_multipliers")
    section, prefix = (config.vqgan_seg, "sketch_") if kind == "vqgan_seg" else (config.vqgan, "")
    said: dict[str, Any] = {}
    its: dict[str, Any] = {}
    for field in ("codebook_size", "codebook_dim"):
        for name, where in ((f"{kind}.{field}", section), (f"model.{prefix}{field}", config.model)):
            said[name], its[name] = getattr(where, name.partition(".")[2]), shape[field]
    # Of these only the number matters: each level halves the picture once more.
    if len(section.width_multipliers) != len(shape["width_multipliers"]):
        name = f"{kind}.width_multipliers"
        said[name], its[name] = list(section.width_multipliers), shape["width_multipliers"]
    odd = [name for name in said if said[name] != its[name]]
    if odd:
        raise ConfigError(
            f"{artifact.uri} does not fit the settings: "
            f"{', '.join(f'{name} is {said[name]} and not {its[name]}' for name in odd)}. Set "
            f"{' '.join(f'{name}={json.dumps(its[name])}'.replace(' ', '') for name in odd)}, "
            f"with the clips.size and model.target_grid that go with it, or {GIVEN_BY[kind]} to "
            "another."
        )


def _config_of(artifact: Artifact, *expected: str) -> dict[str, Any]:
    """The ``config.json`` that ``save_pretrained`` wrote."""
    uri = storage.join(artifact.root, "config.json")
    try:
        tree: dict[str, Any] = json.loads(storage.read_bytes(uri))
        return {name: tree[name] for name in expected}
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{uri} is not of a {artifact.kind}: {error!r}.") from error
