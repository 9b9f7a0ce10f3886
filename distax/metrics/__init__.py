"""How good an answer is: CSO-mAP, PSNR and SSIM, counts, positions against their bound, honesty."""

from distax.metrics.bound import cramer_rao, noise_free
from distax.metrics.calibration import CoverageSums, ReliabilitySums
from distax.metrics.cso import RADII, CsoMap, CsoSums, cso_map
from distax.metrics.exact_sum import ExactSum
from distax.metrics.image_quality import psnr, ssim
from distax.metrics.localization import LocalizationSums, Pairing, assign
from distax.metrics.matching import match

__all__ = [
    "RADII",
    "CoverageSums",
    "CsoMap",
    "CsoSums",
    "ExactSum",
    "LocalizationSums",
    "Pairing",
    "ReliabilitySums",
    "assign",
    "cramer_rao",
    "cso_map",
    "match",
    "noise_free",
    "psnr",
    "ssim",
]
