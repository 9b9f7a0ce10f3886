"""Metrics: CSO-mAP, PSNR and SSIM, counts and position errors, Cramér–Rao bound, calibration."""

from distax.metrics.bound import cramer_rao, is_ideal
from distax.metrics.calibration import CoverageSums, ReliabilitySums
from distax.metrics.cso import RADII, CsoMap, CsoSums, cso_map
from distax.metrics.exact_sum import ExactSum
from distax.metrics.image_quality import psnr, ssim
from distax.metrics.localization import LocalizationSums, Pairing, assign
from distax.metrics.matching import match
from distax.metrics.sequence_rates import RateSums

__all__ = [
    "RADII",
    "CoverageSums",
    "CsoMap",
    "CsoSums",
    "ExactSum",
    "LocalizationSums",
    "Pairing",
    "RateSums",
    "ReliabilitySums",
    "assign",
    "cramer_rao",
    "cso_map",
    "is_ideal",
    "match",
    "psnr",
    "ssim",
]
