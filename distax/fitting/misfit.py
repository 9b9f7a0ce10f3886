"""Misfit: how well the imaging model explains images, and the warning if it does not."""

import warnings

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from distax.fitting.patch import Patch
from distax.runtime.errors import DistaxWarning

TRUSTED_MISFIT = 1.4
"""If the misfit is above this, the answer is not trusted. One in a thousand images that the imaging
model simulates has a larger misfit. A lower limit rejects more good answers, a higher one trusts
more wrong ones."""
_USUAL_MISFIT = 1.1
"""If the median misfit is above this, a warning is given. A lower limit warns of good images, a
higher one misses small errors of the sensor. While the imaging model holds, medians are 0.7 to 1.0,
depending on the number of targets. CSIST-100K's images exceed the limit when sigma is off by 2%."""
_FEW = 16
"""A warning needs at least this many images. The median of fewer varies too much by chance."""


def compute_misfit(squares: Float[Array, " N"], patch: Patch) -> Float[Array, " N"]:
    """Returns the root-mean-square residual, relative to the noise.

    The sum of squares is divided by the number of pixels that are not clipped. It is not corrected
    for the fitted parameters: they lower the squares of the residuals, but the prior's squares add
    about as much.
    """
    informative = jnp.sum(jnp.isfinite(patch.upper), axis=0)
    return jnp.sqrt(squares / jnp.maximum(informative, 1))


def warn_of_misfits(misfit: Float[np.ndarray, " N"], what: str = "images") -> None:
    """Warns if the imaging model does not explain most images, judged by their median misfit.

    Args:
      misfit: of each image.
      what: word for the images, in the plural.
    """
    if len(misfit) >= _FEW and (median := np.median(misfit)) > _USUAL_MISFIT:
        warnings.warn(
            f"the median misfit of {len(misfit)} {what} is {median:.2f}; where the imaging model "
            "holds it stays below 1, so positions and their uncertainties are in doubt, those "
            "marked as trusted too: check the sensor: sigma, background, read noise, saturation",
            DistaxWarning,
            stacklevel=3,
        )
