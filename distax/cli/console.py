"""Evaluation results as tables on a terminal."""

from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from distax.evaluation import Evaluation
from distax.evaluation.results import SCORE_HEADINGS
from distax.evaluation.tables import (
    COUNT_ACCURACY,
    GOSPA,
    RMSE,
    Quantity,
    by_count_rows,
    rate_rows,
    score_rows,
)
from distax.frames.scoring import FrameEvaluation
from distax.runtime.terminal import printable

PUBLISHED = {
    "FOCUS, published (released images)": (45.50, 0.4, 7.3, 41.0, 83.2, 95.5),
    "DISTA-Net, published (released images)": (46.74, 0.38, 7.54, 42.44, 86.18, 97.14),
}
"""Published CSO-mAP and AP at the five radii in percent.

Scores on simulated images are one or two points higher than on the released images, so each row
names the images it was measured on.
"""


def print_evaluation(
    result: Evaluation,
    others: Mapping[str, Sequence[float]] | None = None,
    name: str = "this model",
) -> None:
    """Prints a table of CSO-mAP and APs, and a line of other scores.

    Args:
      result: the evaluation.
      others: other results for further rows, by label: CSO-mAP and APs in percent.
      name: label of the result.
    """
    rows = score_rows(result, f"{name}, {result.images} images")
    rows |= {label: [f"{value:.2f}" for value in row] for label, row in (others or {}).items()}
    table = Table(*SCORE_HEADINGS)
    for label, row in rows.items():
        table.add_row(Text(printable(label)), *row)
    wide_console().print(table)
    summary = {"count accuracy": (COUNT_ACCURACY, "%"), "position RMSE": (RMSE, " px")}
    if result.psnr is not None:
        psnr, ssim = Quantity("PSNR", ("psnr",), 1.0, 2), Quantity("SSIM", ("ssim",), 1.0, 4)
        summary = {"PSNR": (psnr, " dB"), "SSIM": (ssim, "")} | summary
    if result.gospa is not None:
        summary["GOSPA"] = GOSPA, " px"
    scores = result.to_dict()
    parts = (
        f"{label} {quantity.write(scores, result.intervals, ' ± ')}{unit}"
        for label, (quantity, unit) in summary.items()
    )
    wide_console().print(", ".join(parts), highlight=False)


def print_by_count(result: Evaluation) -> None:
    """Prints scores for each true number of targets, ranked by the estimator's own score."""
    headings, *rows = by_count_rows(result)
    table = Table(*headings)
    for row in rows:
        table.add_row(*row)
    wide_console().print(table)


def print_rates(result: Evaluation | FrameEvaluation) -> None:
    """Prints precision, recall and errors of the pairs within each matching radius."""
    if rows := rate_rows(result):
        table = Table(*rows[0])
        for row in rows[1:]:
            table.add_row(*row)
        wide_console().print(table)


def print_frame_evaluation(result: FrameEvaluation, name: str) -> None:
    """Prints average precision, recall, blob counts, false blobs and rates over frames."""
    scores = result.to_dict()

    def write(*path: str, scale: float = 100.0, digits: int = 1, plus_minus: str = " ± ") -> str:
        return Quantity("", path, scale, digits).write(scores, result.intervals, plus_minus)

    table = Table("percent", "mean", *(f"within {radius} px" for radius in result.ap))
    rows = {
        f"{name}, {result.frames} frames: average precision (mean: CSO-mAP)": "ap",
        "true targets found": "recall",
    }
    for label, field in rows.items():
        mean = write("cso_map", plus_minus="±") if field == "ap" else "–"
        cells = (write(field, radius, plus_minus="±") for radius in result.ap)
        table.add_row(Text(printable(label)), mean, *cells)
    wide_console().print(table)
    print_rates(result)
    wide_console().print(
        f"{write('blob_recall')}% of clusters and stars found, right number of targets in "
        f"{write('right_count')}% of them, {write('false_blobs', scale=1.0, digits=2)} false blobs "
        f"a frame\nwithin 3 px: Pd {write('pd')}%, Fa {write('fa', scale=1e6, digits=2)} per "
        f"million px; GOSPA {write('gospa', scale=1.0, digits=4)} px",
        highlight=False,
    )


def print_reliability(result: Evaluation) -> None:
    """Prints the stated hit probabilities and the shares that came true, if there are any."""
    if result.reliability is None:
        return
    table = Table("hit probability / %", *(f"within {radius} px" for radius in result.reliability))
    reliability = result.to_dict()["reliability"]
    for label, side in {"stated": "reported", "came true": "realised"}.items():
        means = {
            radius: {side: np.average(curve[side], weights=curve["detections"])}
            for radius, curve in reliability.items()
            if curve["detections"]
        }
        ends = (result.intervals or {}).get("reliability")
        cells = (Quantity("", (radius, side)).write(means, ends) for radius in result.reliability)
        table.add_row(label, *cells)
    wide_console().print(table)


def wide_console() -> Console:
    """Returns a console as wide as the terminal, or 200 columns wide for a file or a pipe.

    200 columns keep long file names whole.
    """
    console = Console()
    if not console.is_terminal:
        console.width = 200
    return console
