"""What an evaluation finds, as plain numbers that JSON can hold.

Keys of dictionaries are written out: radii as "0.05", levels as "0.90", counts as "3".
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
    """Reported hit probabilities in equal bins, those without any left out, rising.

    Each is a list over bins: how many detections there are, the mean of their probabilities, and
    the share of them that were hits.
    """

    detections: list[int]
    reported: list[float]
    realised: list[float]


@dataclass(frozen=True)
class Evaluation:
    """Results over a set of images.

    Attributes:
      images: number of images.
      cso_map: mean of the average precisions, detections ranked by intensity: the published
        protocol. A fraction, as all scores and shares here.
      ap: those average precisions by matching radius in pixels.
      cso_map_by_score: the same ranked by the estimator's own score.
      ap_by_score: the same ranked by the estimator's own score.
      count_accuracy: share of images with the right number of targets.
      rmse: root-mean-square distance in pixels of optimally assigned pairs; None without any.
      bound: the Cramér–Rao bound of `rmse`, see `metrics.cramer_rao`; None where it is infinite,
        where there are no targets, and for a sensor without noise and rounding.
      within: share of true targets whose assigned one lies within each matching radius.
      coverage: share of found targets with the true one inside the credible region of each level;
        None for estimators that report no regions.
      reliability: by radius, how reported hit probabilities came true; None for estimators that
        report none.
      by_count: the results for each number of true targets.
      psnr: mean peak signal-to-noise ratio of the grids in dB; None for what answers off the grid.
      ssim: mean structural similarity of the grids; None for what answers off the grid.
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
        """The figures to follow while a model trains."""
        figures = {
            "cso_map": self.cso_map,
            "cso_map_by_score": self.cso_map_by_score,
            "psnr": self.psnr,
            "ssim": self.ssim,
        }
        return {name: value for name, value in figures.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return asdict(self)

    def _repr_html_(self) -> str:
        """Tables of scores and of results by number of targets, for notebooks."""
        from distax.evaluation.rows import evaluation_html

        return evaluation_html(self)
