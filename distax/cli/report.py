"""Results as tables for a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import SupportsFloat

import numpy as np
from rich.console import Console
from rich.table import Table

from distax.evaluation import Evaluation
from distax.evaluation.frames import FrameEvaluation
from distax.metrics import RADII

# CSO-mAP and AP at the five radii in percent. Scores on simulated images run one or two points
# above those on the released ones, so the two kinds are labelled.
PUBLISHED = {
    "FOCUS, published (released images)": (45.50, 0.4, 7.3, 41.0, 83.2, 95.5),
    "DISTA-Net, published (released images)": (46.74, 0.38, 7.54, 42.44, 86.18, 97.14),
}


def print_evaluation(
    result: Evaluation,
    others: Mapping[str, Sequence[float]] | None = None,
    name: str = "this model",
) -> None:
    """Print a result, with other rows of CSO-mAP and APs in percent below it."""
    rows = {f"{name}, {result.images} images": percentages(result.cso_map, result.ap.values())}
    by_score = percentages(result.cso_map_by_score, result.ap_by_score.values())
    if by_score not in rows.values():
        rows["… ranked by its own score instead of intensity"] = by_score
    table = Table("percent", "CSO-mAP", *(f"AP-{round(100 * radius):02d}" for radius in RADII))
    for label, row in (rows | dict(others or {})).items():
        table.add_row(label, *(f"{value:.2f}" for value in row))
    wide_console().print(table)
    quality = "" if result.psnr is None else f"PSNR {result.psnr:.2f} dB, SSIM {result.ssim:.4f}, "
    print(
        f"{quality}right number of targets in {_percent(result.count_accuracy)}%, "
        f"position RMSE {_pixels(result.rmse)} px"
    )


def print_by_count(result: Evaluation) -> None:
    """Print a row for each number of true targets, ranked by the estimator's own score."""
    nearest = next(iter(result.ap))
    levels = list(result.coverage or ())
    table = Table(
        "targets",
        "images",
        "right number / %",
        "CSO-mAP",
        f"within {nearest} px / %",
        "RMSE / px",
        "its bound / px",
        *(f"in {float(level):.0%} region / %" for level in levels),
    )
    for count, group in [*result.by_count.items(), ("all", result.to_dict())]:
        table.add_row(
            count,
            str(group["images"]),
            _percent(group["count_accuracy"]),
            _percent(group["cso_map_by_score"]),
            _percent((group["within"] or {}).get(nearest)),
            _pixels(group["rmse"]),
            _pixels(group["bound"]),
            *(_percent((group["coverage"] or {}).get(level)) for level in levels),
        )
    wide_console().print(table)


def print_frame_evaluation(result: FrameEvaluation, name: str) -> None:
    """Print how well frames were unmixed."""
    table = Table("percent", "mean", *(f"within {radius} px" for radius in result.ap))
    rows = {
        f"{name}, {result.frames} frames: average precision (mean: CSO-mAP)": result.ap,
        "true targets found": result.recall,
    }
    for label, by_radius in rows.items():
        shares = list(by_radius.values())
        table.add_row(label, *map(_percent, [sum(shares) / len(shares), *shares]))
    wide_console().print(table)
    print(
        f"{_percent(result.blob_recall)}% of clusters and stars found, right number of targets in "
        f"{_percent(result.right_count)}% of them, {result.false_blobs:.2f} false blobs a frame"
    )


def print_reliability(result: Evaluation) -> None:
    """Print how often stated hit probabilities come true, if there are any."""
    if result.reliability is None:
        return
    curves = list(result.reliability.values())
    rows = {
        "stated": [curve["reported"] for curve in curves],
        "came true": [curve["realised"] for curve in curves],
    }
    table = Table("hit probability / %", *(f"within {radius} px" for radius in result.reliability))
    for label, sides in rows.items():
        means = (
            np.average(side, weights=curve["detections"]) if side else None
            for side, curve in zip(sides, curves, strict=True)
        )
        table.add_row(label, *map(_percent, means))
    wide_console().print(table)


def percentages(mean: SupportsFloat, aps: Iterable[SupportsFloat]) -> tuple[float, ...]:
    """CSO-mAP and the APs in percent."""
    return tuple(100 * float(value) for value in (mean, *aps))


def wide_console() -> Console:
    """A console whose tables fit a terminal, and keep whole names in a file or a pipe."""
    console = Console()
    if not console.is_terminal:
        console.width = 200
    return console


def _percent(share: SupportsFloat | None) -> str:
    return "–" if share is None else f"{100 * float(share):.1f}"


def _pixels(distance: float | None) -> str:
    return "–" if distance is None else f"{distance:.4f}"
