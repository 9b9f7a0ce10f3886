"""How good an answer is: CSO-mAP, PSNR and SSIM, target counts and positions."""

from distax.metrics.cso import RADII, CsoMap, CsoSums, cso_map
from distax.metrics.image_quality import psnr, ssim
from distax.metrics.localization import LocalizationSums, assign
from distax.metrics.matching import match

__all__ = [
    "RADII",
    "CsoMap",
    "CsoSums",
    "LocalizationSums",
    "assign",
    "cso_map",
    "match",
    "psnr",
    "ssim",
]
