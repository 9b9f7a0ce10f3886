"""Results of an evaluation, as plain numbers that JSON can hold and as rows of text.

Keys of dictionaries are text: a matching radius is "0.05", a credible level "0.90", a count "3".
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, SupportsFloat, TypedDict

from distax.evaluation.tables import by_count_rows, rate_rows, score_rows
from distax.metrics import RADII, RateResult
from distax.runtime.html import plain_table

SCORE_HEADINGS = ("percent", "CSO-mAP", *(f"AP-{round(100 * radius):02d}" for radius in RADII))


class GroupResult(TypedDict):
    """Results over the images with one number of true targets; see `Evaluation`."""

    images: int
    count_accuracy: float
    cso_map_by_score: float
    ap_by_score: dict[str, float]
    rmse: float | None
    bound: float | None
    within: dict[str, float] | None
    coverage: dict[str, float] | None
    rates: dict[str, RateResult]
    gospa: float


class Reliability(TypedDict):
    """Reliability diagram of the reported hit probabilities.

    Each list has one entry per non-empty bin of the hit probability, in rising order. The bins have
    equal width.

    Attributes:
      detections: number of detections in the bin.
      reported: their mean hit probability.
      realised: the share of them that are hits.
    """

    detections: list[int]
    reported: list[float]
    realised: list[float]


@dataclass(frozen=True)
class Evaluation:
    """Results over a set of images.

    Attributes:
      images: number of images.
      cso_map: CSO-mAP, the mean of `ap`, with detections ranked by intensity as in the published
        protocol. A fraction in 0..1, like all scores and shares here.
      ap: average precision by matching radius in pixels, with detections ranked by intensity.
      cso_map_by_score: CSO-mAP with detections ranked by the estimator's own score.
      ap_by_score: average precision with detections ranked by the estimator's own score.
      count_accuracy: share of images in which the number of targets found is right.
      rmse: root-mean-square distance in pixels of optimally assigned pairs; None if there are none.
      bound: Cramér–Rao bound on `rmse` in pixels, see `metrics.cramer_rao`; None if it is infinite,
        if there are no targets, and for a sensor without noise and rounding.
      within: by matching radius, the share of true targets whose assigned detection lies within it;
        None if there are no targets.
      coverage: by credible level, the share of found targets whose credible region contains the
        true one; None for estimators that report no regions.
      reliability: by matching radius, the reliability of the reported hit probabilities; None for
        estimators that report none.
      by_count: the results for each number of true targets.
      psnr: mean peak signal-to-noise ratio of the grids in dB; None for estimators without a grid.
      ssim: mean structural similarity of the grids; None for estimators without a grid.
      rates: by matching radius, precision, recall and errors of pairs; None in evaluations of
        earlier releases, like the next two.
      gospa: mean distance in pixels of the found from the true targets of an image, see
        `metrics.gospa`. A missed or a false target counts as 0.18 px.
      intervals: 95% confidence intervals of all scores, by bootstrap over the images: the lower and
        the upper end of each in a list, at the places of the scores here. Those of CSO-mAP and the
        APs are of coarser bins of the score. For the reliability they are those of the mean
        reported and the mean realised probability. None for a single image.
    """

    images: int
    cso_map: float
    ap: dict[str, float]
    cso_map_by_score: float
    ap_by_score: dict[str, float]
    count_accuracy: float
    rmse: float | None
    bound: float | None
    within: dict[str, float] | None
    coverage: dict[str, float] | None
    reliability: dict[str, Reliability] | None
    by_count: dict[str, GroupResult]
    psnr: float | None = None
    ssim: float | None = None
    rates: dict[str, RateResult] | None = None
    gospa: float | None = None
    intervals: dict[str, Any] | None = None

    @property
    def headline(self) -> dict[str, float]:
        """The scores that a training log shows: fractions, and PSNR in dB."""
        figures = {
            "cso_map": self.cso_map,
            "cso_map_by_score": self.cso_map_by_score,
            "psnr": self.psnr,
            "ssim": self.ssim,
        }
        return {name: value for name, value in figures.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """Converts to plain numbers and dictionaries, for JSON."""
        return asdict(self)

    def _repr_html_(self) -> str:
        """Shows tables of the scores, by number of targets and of the rates, for notebooks."""
        scores = [[name, *row] for name, row in score_rows(self, "ranked by intensity").items()]
        tables = [SCORE_HEADINGS, *scores], by_count_rows(self), rate_rows(self)
        return "".join(plain_table(table[0], table[1:]) for table in tables if table)


def to_percent(mean: SupportsFloat, aps: Iterable[SupportsFloat]) -> tuple[float, ...]:
    """Converts CSO-mAP and the APs to percent."""
    return tuple(100 * float(value) for value in (mean, *aps))


def format_percent(share: SupportsFloat | None, digits: int = 1) -> str:
    """Formats a share in percent with `digits` decimals, or a dash if it is None."""
    return "–" if share is None else f"{100 * float(share):.{digits}f}"


def format_pixels(distance: float | None) -> str:
    """Formats a distance in pixels, or a dash if it is None."""
    return "–" if distance is None else f"{distance:.4f}"
