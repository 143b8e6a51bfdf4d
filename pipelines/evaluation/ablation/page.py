"""The report of an ablation: one page, one picture, and the same numbers as JSON."""

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from einops import rearrange, repeat
from jaxtyping import UInt8
from PIL import Image

from pipelines import artifacts, storage
from pipelines.config import RunConfig, config_tree
from pipelines.evaluation.ablation import table
from pipelines.evaluation.ablation.results import PAPER, Row, compare
from pipelines.evaluation.ablation.yardstick import Yardstick
from pipelines.evaluation.charts import dot_chart
from pipelines.evaluation.command import command_for
from pipelines.evaluation.features import PIXELS
from pipelines.evaluation.gallery import picture_uri
from pipelines.evaluation.page import make_environment
from pipelines.training.vqgan_quality import evenly

FOLDER = "ablation"
"""Inside the report's folder."""

_MOST_DRAWN = 8
_LEAST_SIDE = 96  # pixels of a picture that a person can look at
_MOST_BYTES = 1_500_000


@dataclass(frozen=True, kw_only=True)
class AblationReport:
    """What a report says.

    Attributes:
        config: Settings of the run.
        yardstick: What was measured by.
        rows: One a variant.
    """

    config: RunConfig
    yardstick: Yardstick
    rows: Sequence[Row]

    def as_json(self) -> dict[str, Any]:
        """The content of ``report.json``."""
        yardstick, extractor = self.yardstick, self.yardstick.extractor
        return {
            "metric": yardstick.metric,
            "extractor": f"{extractor.name} sha256:{extractor.weights_sha256}",
            "split": yardstick.split,
            "num_pictures": len(yardstick.originals),
            "size": len(yardstick.originals[0]),
            "floor": yardstick.floor,
            "variants": [row.as_json() for row in self.rows],
            "comparisons": [one.as_json(yardstick.metric) for one in compare(self.rows)],
            "notes": self._notes,
            "paper": [dict(row) for row in PAPER],
            "versions": artifacts.package_versions(),
            "code_commit": artifacts.code_commit(),
            "command": command_for(self.config, "ablate-tokenizer"),
            "config": config_tree(self.config),
        }

    def as_html(self) -> str:
        """The content of ``index.html``."""
        facts = self.as_json()
        template = files("pipelines.evaluation.ablation").joinpath("page.html.jinja")
        return (
            make_environment()
            .from_string(template.read_text(encoding="utf-8"))
            .render(
                facts=facts,
                headers=table.headers(facts),
                rows=table.rows(facts),
                paper_headers=table.PAPER_HEADERS,
                paper=table.paper_rows(facts),
                charts=self._charts,
                pictures={title: _uri(strip) for title, strip in self._strips.items()},
                seconds=sum(one.metadata["seconds"] for row in self.rows for one in row.made),
            )
        )

    def as_picture(self) -> bytes:
        """A PNG: a row of originals, and below it a row of what each variant makes of them."""
        return _png(np.concatenate(list(self._strips.values())))

    @property
    def _strips(self) -> dict[str, UInt8[np.ndarray, "H W 3"]]:
        """The same pictures side by side: as they are, and from the first seed of a variant."""
        shown = {"originals": self.yardstick.originals}
        shown |= {row.variant.title: row.measured[0].decoded for row in self.rows}
        return {title: _strip(pictures) for title, pictures in shown.items()}

    @property
    def _charts(self) -> dict[str, str]:
        metric, floor = self.yardstick.metric, self.yardstick.floor
        distances, likeness = (
            {row.variant.title: row.values(name) for row in self.rows}
            for name in ("frechet", "ssim")
        )
        return {
            f"{metric}, lower is nearer to the originals": dot_chart(
                distances, name="frechet", value=metric, floor=floor
            ),
            "SSIM, higher is nearer to the originals": dot_chart(
                likeness, name="ssim", value="SSIM"
            ),
        }

    @property
    def _notes(self) -> list[str]:
        """What a reader must know to read the numbers right."""
        size = len(self.yardstick.originals[0])
        training = self.rows[1].variant.training
        perceptual = "LPIPS" if training.vgg16 else "features of the discriminator"
        notes = [
            f"Of the {training.steps} steps of each training, the last "
            f"{training.steps - training.adversarial_start} are with the discriminator, except for "
            f"the VQ-VAE; the perceptual loss compares {perceptual}.",
        ]
        if self.yardstick.split == "train":
            notes.append(
                "Nothing was held out, so all is measured on pictures that the models were trained "
                "on: dataset.validation_fraction holds some back."
            )
        if size > PIXELS:
            notes.append(
                f"The network sees pictures at {PIXELS} × {PIXELS} pixels, not {size} × {size}: "
                "what is finer, its distance does not notice."
            )
        versions = {one.metadata["clips_version"] for row in self.rows for one in row.made}
        if len(versions) > 1:
            notes.append(
                "Clips were added between the trainings, so not all of them saw the same: delete "
                "artifacts/ablation in the store and run this again."
            )
        return notes


def write_page(report: AblationReport) -> str:
    """Write page, picture and numbers, each whole; an earlier report is replaced.

    Returns:
        Uri of the page.
    """
    root = storage.join(report.config.report_root, FOLDER)
    page = storage.join(root, "index.html")
    text = json.dumps(report.as_json(), indent=1, ensure_ascii=False)
    storage.replace_bytes(storage.join(root, "reconstructions.png"), report.as_picture())
    storage.replace_bytes(storage.join(root, "report.json"), text.encode())
    storage.replace_bytes(page, report.as_html().encode())
    return page


def _strip(pictures: UInt8[np.ndarray, "b h w 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """Some pictures side by side, each pixel as a square that can be seen."""
    chosen = pictures[evenly(len(pictures), _MOST_DRAWN)]
    times = max(1, math.ceil(_LEAST_SIDE / chosen.shape[1]))
    large = repeat(chosen, "b h w c -> b (h i) (w j) c", i=times, j=times)
    return rearrange(large, "b h w c -> h (b w) c")


def _png(pixels: UInt8[np.ndarray, "H W 3"]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _uri(strip: UInt8[np.ndarray, "H W 3"]) -> str:
    return picture_uri(_png(strip), most_bytes=_MOST_BYTES)
