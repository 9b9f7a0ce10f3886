"""Images of isolated sources by known sensors."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import pytest

from distax import Sensor, Targets, expose, make_targets, render


@partial(jax.jit, static_argnames=("count", "sensor", "dimmest", "brightest"))
def isolated(
    key: jax.Array, count: int, sensor: Sensor, dimmest: float = 150.0, brightest: float = 250.0
) -> tuple[jax.Array, Targets]:
    """Images of one source each, anywhere between pixel centres, and the sources."""
    host_key, place_key, flux_key, noise_key = jax.random.split(key, 4)
    host = jax.random.randint(host_key, (count, 1, 2), 3, jnp.array(sensor.shape) - 3)
    place = host + jax.random.uniform(place_key, (count, 1, 2), minval=-0.5, maxval=0.5)
    flux = jax.random.uniform(flux_key, (count, 1), minval=dimmest, maxval=brightest)
    targets = make_targets(place, flux)
    return expose(noise_key, render(targets, sensor), sensor), targets


@pytest.fixture(scope="session")
def singles() -> Callable[..., tuple[jax.Array, Targets]]:
    """`isolated`, to make images with."""
    return isolated
