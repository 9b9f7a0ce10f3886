"""Metrics: CSO-mAP, detection rates, distances, image quality, bound, calibration, intervals."""

from distax.metrics.bootstrap import GROUPS, LEVEL, Interval, bootstrap, draw_groups, sum_by_part
from distax.metrics.bound import cramer_rao, is_ideal
from distax.metrics.calibration import CoverageSums, ReliabilitySums
from distax.metrics.cso import RADII, CsoMap, CsoSums, cso_map
from distax.metrics.detection_rates import DetectionSums, RateResult, efficiency
from distax.metrics.exact_sum import ExactMean, ExactSum
from distax.metrics.gospa import Gospa, gospa
from distax.metrics.identity import IdentitySums
from distax.metrics.image_quality import psnr, ssim
from distax.metrics.intervals import by_key, by_radius, with_intervals
from distax.metrics.localization import LocalizationSums, Pairing, assign
from distax.metrics.masks import MaskSums, RegionCounts, pair_near
from distax.metrics.matching import all_best_partners_on_host, match, pair_within
from distax.metrics.sequence_rates import RateSums

__all__ = [
    "GROUPS",
    "LEVEL",
    "RADII",
    "CoverageSums",
    "CsoMap",
    "CsoSums",
    "DetectionSums",
    "ExactMean",
    "ExactSum",
    "Gospa",
    "IdentitySums",
    "Interval",
    "LocalizationSums",
    "MaskSums",
    "Pairing",
    "RateResult",
    "RateSums",
    "RegionCounts",
    "ReliabilitySums",
    "all_best_partners_on_host",
    "assign",
    "bootstrap",
    "by_key",
    "by_radius",
    "cramer_rao",
    "cso_map",
    "draw_groups",
    "efficiency",
    "gospa",
    "is_ideal",
    "match",
    "pair_near",
    "pair_within",
    "psnr",
    "ssim",
    "sum_by_part",
    "with_intervals",
]
