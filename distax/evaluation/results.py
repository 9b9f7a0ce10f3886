"""Results of an evaluation, as plain numbers that JSON can hold.

Keys of dictionaries are text: a matching radius is "0.05", a credible level "0.90", a count "3".
"""

from dataclasses import asdict, dataclass
from typing import Any, TypedDict


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


class Reliability(TypedDict):
    """Reliability diagram of the reported hit probabilities.

    Each entry is a list over bins of equal width, in rising order, without the empty bins:
    `detections` is their number, `reported` the mean of their hit probabilities, and `realised` the
    share of them that were hits.
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

    @property
    def headline(self) -> dict[str, float]:
        """The scores that the log of a training run shows."""
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
        """Shows tables of the scores and of the results by number of targets, for notebooks."""
        from distax.evaluation.rows import evaluation_html

        return evaluation_html(self)
