"""Images of isolated sources by known sensors."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import Sensor, Targets, expose, make_targets, render
from distax.calibration.fourier_basis import FourierBasis
from distax.calibration.measured_psf import SourceWindows, images_of_unit_flux
from distax.fitting.patch import Patch


@partial(jax.jit, static_argnames=("count", "sensor", "dimmest", "brightest"))
def isolated(
    key: jax.Array, count: int, sensor: Sensor, dimmest: float = 150.0, brightest: float = 250.0
) -> tuple[jax.Array, Targets]:
    """Draws images of one source each, anywhere between pixel centres, and their targets."""
    host_key, place_key, flux_key, noise_key = jax.random.split(key, 4)
    host = jax.random.randint(host_key, (count, 1, 2), 3, jnp.array(sensor.shape) - 3)
    place = host + jax.random.uniform(place_key, (count, 1, 2), minval=-0.5, maxval=0.5)
    flux = jax.random.uniform(flux_key, (count, 1), minval=dimmest, maxval=brightest)
    targets = make_targets(place, flux)
    return expose(noise_key, render(targets, sensor), sensor), targets


@pytest.fixture(scope="session")
def singles() -> Callable[..., tuple[jax.Array, Targets]]:
    """Function `isolated`, which draws images."""
    return isolated


def frame_of_blobs(
    *places: tuple[int, int],
    noise: float = 1.0,
    shape: tuple[int, int] = (40, 50),
    flux: float = 200.0,
) -> np.ndarray:
    """Draws blobs of 3×3 pixels in noise around 20 counts."""
    image = np.random.default_rng(0).normal(20.0, noise, shape)
    for row, column in places:
        image[row - 1 : row + 2, column - 1 : column + 2] += flux / 16
        image[row, column] += flux / 2
    return image.astype(np.float32)


@pytest.fixture(scope="session")
def blob_frame() -> Callable[..., np.ndarray]:
    """Function `frame_of_blobs`, which draws an image."""
    return frame_of_blobs


@pytest.fixture(scope="session")
def basis() -> FourierBasis:
    return FourierBasis.for_window(9, 0.7)


@pytest.fixture(scope="session")
def sources(basis: FourierBasis) -> SourceWindows:
    """Six sources under a Gaussian, without noise; the last one does not define the PSF."""
    rng = np.random.default_rng(0)
    place, flux = rng.uniform(-0.5, 0.5, (2, 6)), rng.uniform(1e3, 5e3, 6)
    level = rng.uniform(0.0, 20.0, 6)
    offsets = np.arange(9) - 4 - place[:, :, None]
    shape = images_of_unit_flux(basis.values(offsets), basis.gaussian(0.7, 0.8))
    counts = jnp.asarray((flux * shape.reshape(6, -1).T) + level, jnp.float32)
    patch = Patch(
        counts=counts,
        lower=counts - 0.5,
        upper=counts + 0.5,
        variance=1.0 + counts / 4,
        rounding=jnp.full(6, 1 / 12),
        origin=jnp.zeros((2, 6), int),
        size=jnp.full((2, 6), 9),
    )
    return SourceWindows(np.stack([*place, flux, level]), patch, 9, np.arange(6) < 5)
