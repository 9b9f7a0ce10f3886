"""BID: iterative deconvolution on the sub-pixel grid (toolkit of SeqCSIST, arXiv 2507.09556)."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import Constant, GridModel
from distax.models.layers.convolution import conv3x3
from distax.models.layers.resampling import upsample
from distax.models.registry import register
from distax.runtime.errors import check_positive
from distax.runtime.numerics import exact_products

_TOLERANCE = 0.1
"""Counts below which the largest error of an image ends its iterations."""


def kernel(sigma: float, first: float) -> Float[np.ndarray, "3 3"]:
    """Returns a Gaussian of three taps along each axis, evenly from `first` to 1, with sum 1."""
    taps = np.exp(-(np.linspace(first, 1, 3) ** 2) / (2 * sigma**2))
    return np.outer(taps, taps) / taps.sum() ** 2


@exact_products
def deconvolve(
    blurred: Float[Array, "B fine_height fine_width"],
    psf: Float[Array, "3 3"],
    step: float,
    iterations: int,
) -> Float[Array, "B fine_height fine_width"]:
    """Repeats x ← x − step·(psf ⋆ x − blurred) from x = blurred, where ⋆ is cross-correlation.

    An image is ready once its largest error is below a tenth of a count.

    Args:
      blurred: grids to sharpen, in counts.
      psf: kernel that blurred them; zeros lie around the grids.
      step: share of the error that each iteration subtracts.
      iterations: largest number of iterations.
    """
    weights = psf.astype(blurred.dtype)[..., None, None]

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        count, _, ready = state
        return (count < iterations) & ~jnp.all(ready)

    def iterate(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, x, ready = state
        error = conv3x3(x[..., None], weights)[..., 0] - blurred
        x = jnp.where(ready[:, None, None], x, x - step * error)
        return count + 1, x, ready | (jnp.max(jnp.abs(error), axis=(1, 2)) < _TOLERANCE)

    start = jnp.zeros((), int), blurred, jnp.zeros(len(blurred), bool)
    return jax.lax.while_loop(unfinished, iterate, start)[1]


@register("bid")
class Bid(GridModel):
    """BID: deconvolution of the interpolated image (toolkit of SeqCSIST, arXiv 2507.09556).

    The toolkit names no publication. The bilinear interpolation of the image is sharpened against a
    Gaussian of three nodes along each axis by a fixed number of small steps along the error.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      iterations: largest number of iterations; an image ends them once its largest error is below a
        tenth of a count.
      step: share of the error that each iteration subtracts.
      sigma: standard deviation of the Gaussian in nodes.
      script: True for the original's behaviour, on which its published score depends: the Gaussian
        lies half a node off its centre with a spacing of 1.5 nodes, and each row of the image is
        replaced by its middle pixel.
      sensor: the sensor whose images the model takes.
      rngs: not used; a classical model has no parameters.

    Raises:
      DistaxError: the factor is even, or a number is not positive.
    """

    trained = False

    def __init__(
        self,
        *,
        factor: int = 3,
        iterations: int = 1000,
        step: float = 0.001,
        sigma: float = 0.5,
        script: bool = False,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(iterations=iterations, step=step, sigma=sigma)
        self.iterations, self.step, self.script = iterations, step, script
        self.psf = Constant(jnp.asarray(kernel(sigma, -2.0 if script else -1.0), float))

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        if self.script:
            width = images.shape[2]
            middle = (images[..., (width - 1) // 2] + images[..., width // 2]) / 2
            images = jnp.broadcast_to(middle[..., None], images.shape)
        blurred = upsample(images[..., None], self.factor, "bilinear")[..., 0]
        return deconvolve(blurred, self.psf[...], self.step, self.iterations)
