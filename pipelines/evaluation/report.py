"""The report: one page that needs nothing but itself, and the same numbers as JSON."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from pipelines import artifacts, storage
from pipelines.artifacts import Artifact
from pipelines.config import config_tree
from pipelines.evaluation.charts import Curves, curve_chart
from pipelines.evaluation.command import command_for
from pipelines.evaluation.gallery import galleries, picture_uri
from pipelines.evaluation.goals import key_numbers
from pipelines.evaluation.material import Material
from pipelines.evaluation.page import make_environment
from pipelines.evaluation.records import LeftOut, Score
from pipelines.evaluation.stages import Stage

RECONSTRUCTIONS = "reconstructions.png"
"""File of a tokenizer's artifact: originals above what the tokenizer makes of them."""

_RECONSTRUCTION_BYTES = 1_500_000


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report says.

    Attributes:
        material: What it is about.
        scores: Every number.
        left_out: Every number that is missing, with its reason.
        stages: Time of each job.
    """

    material: Material
    scores: Sequence[Score]
    left_out: Sequence[LeftOut]
    stages: Sequence[Stage]

    def as_json(self) -> dict[str, Any]:
        """The content of ``report.json``."""
        config = self.material.config
        return {
            "metrics": [score.as_json() for score in self.scores],
            "left_out": [entry.as_json() for entry in self.left_out],
            "absent": list(self.material.absent),
            "stages": [{"name": stage.name, "seconds": stage.seconds} for stage in self.stages],
            "versions": artifacts.package_versions(),
            "code_commit": artifacts.code_commit(),
            "artifacts": {one.kind: one.name for one in _artifacts(self.material)},
            "datasets": list(self.material.datasets),
            "command": command_for(config, self._flow),
            "config": config_tree(config),
        }

    @property
    def _flow(self) -> str:
        """What makes the page again; ``demo`` would add other clips to a user's own."""
        if self.material.export is None:
            return "train-tokenizer"
        is_all_named = self.material.datasets == (self.material.config.dataset.name,)
        return "demo" if is_all_named else "evaluate"

    def as_html(self) -> str:
        """The content of ``index.html``."""
        environment = make_environment()
        environment.filters["number"] = number
        environment.filters["goal"] = goal
        environment.filters["duration"] = duration
        template = files("pipelines.evaluation").joinpath("report.html.jinja")
        material = self.material
        return environment.from_string(template.read_text(encoding="utf-8")).render(
            material=material,
            has_videos=any(clip.kind == "video" for clip in material.clips.values()),
            tiles=key_numbers(material, self.scores),
            galleries=galleries(material),
            reconstructions=_reconstructions(material),
            charts=_charts(material),
            facts=self.as_json(),
            scores=self.scores,
            left_out=self.left_out,
            stages=self.stages,
            longest=max((stage.seconds for stage in self.stages), default=1.0),
            total=sum(stage.seconds for stage in self.stages),
        )


def write_report(root: str, report: Report) -> str:
    """Write ``report.json`` and ``index.html``, each whole; an earlier report is replaced.

    Returns:
        Uri of the page.
    """
    page = storage.join(root, "index.html")
    text = json.dumps(report.as_json(), indent=1, ensure_ascii=False)
    storage.replace_bytes(storage.join(root, "report.json"), text.encode())
    storage.replace_bytes(page, report.as_html().encode())
    return page


def number(value: float, unit: str = "") -> str:
    """A value with its unit, as a person would write it: ``97.3 %``, ``27.41 dB``, ``1,204``."""
    if unit == "share":
        return f"{100 * value:.1f} %"
    if value == int(value) and abs(value) < 1e15:
        plain = f"{int(value):,}"
    else:
        plain = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{plain} {unit}".rstrip()


def goal(value: float, unit: str = "") -> str:
    """A round value with its unit: ``95 %``, ``25 dB``."""
    return f"{100 * value:.4g} %" if unit == "share" else f"{value:.4g} {unit}".rstrip()


def duration(seconds: float) -> str:
    """A time as a person would write it: ``4.2 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _artifacts(material: Material) -> list[Artifact]:
    made = (material.vqgan, material.vqgan_seg, material.export, material.samples_artifact)
    return [artifact for artifact in made if artifact is not None]


def _reconstructions(material: Material) -> dict[str, str]:
    """Title to picture, for each tokenizer that drew one."""
    titles = {"vqgan": "Frames", "vqgan_seg": "Sketches, a color for each class"}
    return {
        titles[artifact.kind]: picture_uri(
            storage.read_bytes(storage.join(artifact.root, RECONSTRUCTIONS)),
            most_bytes=_RECONSTRUCTION_BYTES,
        )
        for artifact in _artifacts(material)
        if artifact.kind in titles and RECONSTRUCTIONS in artifact.files
    }


def _charts(material: Material) -> dict[str, str]:
    """Title to drawing, for each artifact whose metadata has a ``curve``."""
    titles = {
        "vqgan": "VQ-GAN, frames",
        "vqgan_seg": "VQ-GAN, sketches",
        "export": "Transformer, loss by task",
    }
    drawn = {}
    for artifact in _artifacts(material):
        curves = curves_of(artifact.metadata.get("curve", ()))
        if artifact.kind in titles and curves:
            title = titles[artifact.kind]
            drawn[title] = curve_chart(curves, name=artifact.name, value="loss")
            codes = codes_of(artifact.metadata["curve"])
            if codes:
                name = f"{artifact.name}-codes"
                drawn[f"{title}: codebook"] = curve_chart(codes, name=name, value="tokens")
    return drawn


def curves_of(records: Iterable[Mapping[str, Any]]) -> Curves:
    """The curve of each task, or of each kind of loss, in a list of ``{step, task, loss}``."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        curves.setdefault(record["task"], []).append((record["step"], record["loss"]))
    return curves


def codes_of(records: Iterable[Mapping[str, Any]]) -> Curves:
    """The use of the codebook over a training that told of it; nothing if it did not."""
    names = {"codes_alive": "alive", "perplexity": "perplexity"}
    curves: dict[str, dict[float, float]] = {}
    for record in records:
        for key in names.keys() & record.keys():
            curves.setdefault(names[key], {})[record["step"]] = record[key]
    return {name: sorted(points.items()) for name, points in sorted(curves.items())}
