"""Sensors, priors and windows from the numbers that an exported method takes; its range."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from distax.export.numbers import Numbers
from distax.fitting.cameras import outside_of_range
from distax.fitting.candidates import WIDE_CLUSTER
from distax.fitting.patch import Patch, blob_reach, cut_patches, window_width
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import MOST_BITS, Sensor
from distax.runtime.errors import DistaxError


def prior_of(numbers: Numbers, like: ScenePrior) -> ScenePrior:
    """Returns the prior with the given numbers, and the counts and border of another one."""
    return replace(
        like,
        min_intensity=numbers["min_intensity"],
        max_intensity=numbers["max_intensity"],
        separation=numbers["min_distance"],
        rayleigh_unit=1.0,
        cluster=numbers["cluster"],
    )


def sensor_of(numbers: Numbers, shape: tuple[int, int], digital: bool) -> Sensor:
    """Returns the sensor with the given numbers and with or without a digitiser."""
    return Sensor(
        *shape,
        sigma=(numbers["sigma"][0], numbers["sigma"][1]),
        saturation=numbers["clip_level"],
        bit_depth=MOST_BITS if digital else None,
        read_noise=numbers["read_noise"],
        gain=numbers["gain"],
        background=numbers["background"],
    )


def cut_for(
    images: Float[Array, "N height width"], numbers: Numbers, width: int
) -> tuple[Patch, Sensor]:
    """Cuts the windows of images, and returns them with the sensor that `numbers` describe.

    The sensor is one with a digitiser. The windows hold all that depends on whether there is one.
    """
    shape = images.shape[1], images.shape[2]
    digital, real = (sensor_of(numbers, shape, rounds) for rounds in (True, False))
    patches = (cut_patches(images, sensor, width, blob_reach(width)) for sensor in (digital, real))
    return jax.tree.map(partial(jnp.where, numbers["digital"] > 0), *patches), digital


def check_served(
    sensor: Sensor, prior: ScenePrior, exported: Sensor, exported_prior: ScenePrior
) -> None:
    """Raises DistaxError for a sensor or a prior that an exported method does not serve.

    Args:
      sensor, prior: those asked for.
      exported: the sensor that the method was exported with; its windows are the widest.
      exported_prior: the prior that it was exported with, whose counts and border the program has.
    """
    widest = window_width(exported, exported_prior.cluster)
    width = window_width(sensor, prior.cluster)
    counts, asked = (
        (one.min_targets, one.max_targets, one.border) for one in (exported_prior, prior)
    )
    if sensor.measured_psf is not None:
        problem = "a measured PSF cannot be an input"
    elif sensor.shape != exported.shape:
        problem = f"the images' size is {exported.shape}, not {sensor.shape}"
    elif asked != counts:
        problem = f"min_targets, max_targets and border are {counts}, not {asked}"
    elif width > widest:
        problem = f"its windows are {widest} px wide, and this camera needs {width} px"
    elif exported_prior.cluster <= WIDE_CLUSTER < prior.cluster:
        problem = f"its clusters are at most {WIDE_CLUSTER} px wide, not {prior.cluster} px"
    elif outside := outside_of_range(sensor, prior):
        problem = outside
    else:
        return
    raise DistaxError(f"the exported method does not serve this camera: {problem}; export another")
