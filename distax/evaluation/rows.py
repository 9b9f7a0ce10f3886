"""Rows of text with an evaluation's results, for terminals and notebooks."""

from collections.abc import Iterable
from typing import SupportsFloat

from distax.evaluation.results import Evaluation
from distax.metrics import RADII
from distax.runtime.html import plain_table

SCORE_HEADINGS = ("percent", "CSO-mAP", *(f"AP-{round(100 * radius):02d}" for radius in RADII))


def score_rows(result: Evaluation, name: str) -> dict[str, list[str]]:
    """Formats CSO-mAP and the APs in percent: a row for each ranking, or one row if both agree.

    Args:
      result: the evaluation.
      name: label of the row with detections ranked by intensity.
    """
    rows = {name: percentages(result.cso_map, result.ap.values())}
    by_score = percentages(result.cso_map_by_score, result.ap_by_score.values())
    if by_score not in rows.values():
        rows["… ranked by its own score instead of intensity"] = by_score
    return {label: [f"{value:.2f}" for value in row] for label, row in rows.items()}


def by_count_rows(result: Evaluation) -> list[list[str]]:
    """Formats headings and a row for each number of true targets, then one for all images.

    Detections are ranked by the estimator's own score.
    """
    nearest = next(iter(result.ap))
    levels = list(result.coverage or ())
    headings = [
        "targets",
        "images",
        "right number / %",
        "CSO-mAP",
        f"within {nearest} px / %",
        "RMSE / px",
        "its bound / px",
        *(f"in {float(level):.0%} region / %" for level in levels),
    ]
    rows = [
        [
            count,
            str(group["images"]),
            percent(group["count_accuracy"]),
            percent(group["cso_map_by_score"]),
            percent((group["within"] or {}).get(nearest)),
            pixels(group["rmse"]),
            pixels(group["bound"]),
            *(percent((group["coverage"] or {}).get(level)) for level in levels),
        ]
        for count, group in [*result.by_count.items(), ("all", result.to_dict())]
    ]
    return [headings, *rows]


def evaluation_html(result: Evaluation) -> str:
    """Writes both tables as HTML, for notebooks."""
    scores = [[name, *row] for name, row in score_rows(result, "ranked by intensity").items()]
    headings, *by_count = by_count_rows(result)
    return plain_table(SCORE_HEADINGS, scores) + plain_table(headings, by_count)


def percentages(mean: SupportsFloat, aps: Iterable[SupportsFloat]) -> tuple[float, ...]:
    """Converts CSO-mAP and the APs to percent."""
    return tuple(100 * float(value) for value in (mean, *aps))


def percent(share: SupportsFloat | None) -> str:
    """Formats a share in percent, or a dash if it is None."""
    return "–" if share is None else f"{100 * float(share):.1f}"


def pixels(distance: float | None) -> str:
    """Formats a distance in pixels, or a dash if it is None."""
    return "–" if distance is None else f"{distance:.4f}"
