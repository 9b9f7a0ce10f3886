"""Results as tables for a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import SupportsFloat

from rich.console import Console
from rich.table import Table

from distax.evaluation import Evaluation
from distax.metrics import RADII

# CSO-mAP and AP at the five radii in percent. Scores on simulated images run one or two points
# above those on the released ones, so the two kinds are labelled.
PUBLISHED = {
    "FOCUS, published (released images)": (45.50, 0.4, 7.3, 41.0, 83.2, 95.5),
    "DISTA-Net, published (released images)": (46.74, 0.38, 7.54, 42.44, 86.18, 97.14),
}


def print_evaluation(
    result: Evaluation, others: Mapping[str, Sequence[float]] | None = None
) -> None:
    """Print a result, with other rows of CSO-mAP and APs in percent below it."""
    rows = {f"this model, {result.images} images": percentages(result.cso_map, result.ap.values())}
    table = Table("percent", "CSO-mAP", *(f"AP-{round(100 * radius):02d}" for radius in RADII))
    for name, row in (rows | dict(others or {})).items():
        table.add_row(name, *(f"{value:.2f}" for value in row))
    wide_console().print(table)
    rmse = "unknown" if result.rmse is None else f"{result.rmse:.3f} px"
    print(
        f"PSNR {result.psnr:.2f} dB, SSIM {result.ssim:.4f}, right number of targets in "
        f"{100 * result.count_accuracy:.1f}%, position RMSE {rmse}"
    )


def percentages(mean: SupportsFloat, aps: Iterable[SupportsFloat]) -> tuple[float, ...]:
    """CSO-mAP and the APs in percent."""
    return tuple(100 * float(value) for value in (mean, *aps))


def wide_console() -> Console:
    """A console whose tables fit a terminal, and keep whole names in a file or a pipe."""
    console = Console()
    if not console.is_terminal:
        console.width = 200
    return console
