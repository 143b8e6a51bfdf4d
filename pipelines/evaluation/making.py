"""Numbers that the makers of artifacts measured themselves, taken from their manifests."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pipelines.artifacts import Artifact
from pipelines.evaluation.material import Material
from pipelines.evaluation.records import LeftOut, Score


class Reported(NamedTuple):
    """One entry of an artifact's metadata that is a number of the report.

    Attributes:
        key: Its name in the metadata; a mapping there gives one number for each task.
        metric: What the report calls it.
        unit: ``share`` lies in [0, 1]; empty is a plain number.
    """

    key: str
    metric: str
    unit: str = ""


VQGAN = (
    Reported("psnr", "PSNR", "dB"),
    Reported("ssim", "SSIM"),
)
VQGAN_SEG = (
    Reported("pixel_accuracy", "PA", "share"),
    Reported("fwiou", "FWIoU", "share"),
)
CODES_ALIVE = "codes alive"
EXPORT = (
    Reported("validation_loss", "validation loss", "nats a token"),
    Reported("tokens_per_s", "training speed", "tokens a second"),
)


def score_vqgan(material: Material) -> Iterator[Score | LeftOut]:
    """Fidelity of the frame tokenizer, and how much of its codebook lives."""
    yield from _reported("vqgan", material.vqgan, VQGAN)
    yield from _codebook_use("vqgan", material.vqgan)


def score_vqgan_seg(material: Material) -> Iterator[Score | LeftOut]:
    """Agreement of the sketch tokenizer's label maps with the originals."""
    yield from _reported("vqgan_seg", material.vqgan_seg, VQGAN_SEG)
    yield from _codebook_use("vqgan_seg", material.vqgan_seg)


def score_training(material: Material) -> Iterator[Score | LeftOut]:
    """Loss on held-out examples and speed of training."""
    yield from _reported("training", material.export, EXPORT)


def score_generation(material: Material) -> Iterator[Score | LeftOut]:
    """Passes of the decoder for each task, and speed of sampling as a whole."""
    artifact = material.samples_artifact
    if artifact is None or not material.samples:
        yield LeftOut("generation", "steps a sample, speed", "there are no samples")
        return
    for task, about in artifact.metadata.get("tasks", {}).items():
        if task in material.tasks:
            yield Score(
                task=task,
                metric="steps a sample",
                value=float(about["num_steps"]),
                num_samples=len(material.of_task(task)),
                unit="passes",
            )
    seconds = artifact.metadata.get("seconds")
    if not seconds:
        yield LeftOut("generation", "speed", f"{artifact.name} does not say its seconds")
        return
    yield Score(
        task="generation",
        metric="speed",
        value=60 * len(material.samples) / seconds,
        num_samples=len(material.samples),
        unit="samples a minute",
        note="loading the model and writing videos included",
    )


def _reported(
    task: str, artifact: Artifact | None, entries: tuple[Reported, ...]
) -> Iterator[Score | LeftOut]:
    if artifact is None:
        yield LeftOut(task, ", ".join(entry.metric for entry in entries), "there is no artifact")
        return
    for entry in entries:
        value = artifact.metadata.get(entry.key)
        if value is None:
            yield LeftOut(task, entry.metric, f"{artifact.name} does not say its {entry.key}")
            continue
        by_task = value if isinstance(value, Mapping) else {task: value}
        for name, number in by_task.items():
            yield Score(
                task=name,
                metric=entry.metric,
                value=float(number),
                num_samples=_count(artifact.metadata),
                unit=entry.unit,
                note=_note(artifact.metadata),
            )


def _codebook_use(task: str, artifact: Artifact | None) -> Iterator[Score | LeftOut]:
    """Codes used at all, and the perplexity of their use, beside the size of the codebook."""
    metrics = f"{CODES_ALIVE}, perplexity"
    if artifact is None:
        yield LeftOut(task, metrics, "there is no artifact")
        return
    told, count = artifact.metadata, _count(artifact.metadata)
    missing = sorted({"codebook_size", "codes_alive", "perplexity"} - told.keys())
    if missing:
        yield LeftOut(task, metrics, f"{artifact.name} does not say its {', '.join(missing)}")
        return
    size, alive, perplexity = (told[k] for k in ("codebook_size", "codes_alive", "perplexity"))
    where = f"; {note}" if (note := _note(told)) else ""
    yield Score(
        task=task,
        metric=CODES_ALIVE,
        value=alive / size,
        num_samples=count,
        unit="share",
        note=f"{alive:,} of {size:,} tokens{where}",
    )
    yield Score(
        task=task,
        metric="perplexity",
        value=float(perplexity),
        num_samples=count,
        unit="tokens",
        note=f"{100 * perplexity / size:.3g} % of the codebook{where}",
    )


def _note(metadata: Mapping[str, Any]) -> str:
    """A word of warning where nothing was held out to measure on."""
    return "on training pictures" if metadata.get("measured_on") == "train" else ""


def _count(metadata: Mapping[str, Any]) -> int:
    """How many pictures or examples its maker measured on; 0 if it does not say."""
    return int(metadata.get("num_validation", 0))
