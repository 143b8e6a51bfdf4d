"""The table of a finished ablation, for a page and for a terminal; torch-free."""

from collections.abc import Mapping
from typing import Any

PAPER_HEADERS = ("published", "picture → tokens", "FID", "SSIM")

_FORMATS = {"frechet": ".3g", "ssim": ".4f", "psnr": ".2f", "codes_alive": ".1f"}


def headers(report: Mapping[str, Any]) -> list[str]:
    """Names of the columns.

    Args:
        report: What ``report.json`` holds.
    """
    return [
        "variant",
        "picture → tokens",
        "pixels a token",
        "bits to one",
        "weights",
        report["metric"],
        "SSIM",
        "PSNR (dB)",
        "codes alive",
    ]


def rows(report: Mapping[str, Any]) -> list[list[str]]:
    """A row for each variant: the mean of all seeds ± their standard deviation."""
    return [
        [
            variant["title"],
            f"{variant['size']}² → {variant['side']}²",
            f"{variant['factor']}²",
            f"{variant['compression']:.0f}",
            f"{variant['parameters']:,}",
            *(_number(variant, metric, form) for metric, form in _FORMATS.items()),
        ]
        for variant in report["variants"]
    ]


def paper_rows(report: Mapping[str, Any]) -> list[list[str]]:
    """The published numbers: model, picture → tokens, FID, SSIM."""
    return [
        [row["model"], row["picture"], f"{row['fid']:g}", f"{row['ssim']:.4f}"]
        for row in report["paper"]
    ]


def _number(variant: Mapping[str, Any], metric: str, form: str) -> str:
    mean, deviation = variant["mean"][metric], variant["deviation"][metric]
    return f"{mean:{form}}" + ("" if deviation is None else f" ± {deviation:{_coarser(form)}}")


def _coarser(form: str) -> str:
    """A deviation needs no third digit."""
    return ".2g" if form.endswith("g") else form
