"""Sensors, priors and windows from the numbers that an exported method takes; its range."""

from dataclasses import replace

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
    patches = []
    for digital in (True, False):
        sensor = sensor_of(numbers, (images.shape[1], images.shape[2]), digital)
        patches.append(cut_patches(images, sensor, width, blob_reach(width)))
    rounds = numbers["digital"] > 0
    patch = jax.tree.map(lambda *leaves: jnp.where(rounds, *leaves), *patches)
    return patch, sensor_of(numbers, (images.shape[1], images.shape[2]), True)


def check_served(sensor: Sensor, prior: ScenePrior, exported: Sensor, law: ScenePrior) -> None:
    """Raises DistaxError for a sensor or a prior that an exported method does not serve.

    Args:
      sensor, prior: those asked for.
      exported: the sensor that the method was exported with; its windows are the widest.
      law: the prior that it was exported with; its counts and border are part of the program.
    """
    widest = window_width(exported, law.cluster)
    width = window_width(sensor, prior.cluster)
    counts = (law.min_targets, law.max_targets, law.border)
    asked = (prior.min_targets, prior.max_targets, prior.border)
    if sensor.measured_psf is not None:
        problem = "a measured PSF cannot be an input"
    elif sensor.shape != exported.shape:
        problem = f"the images' size is {exported.shape}, not {sensor.shape}"
    elif asked != counts:
        problem = f"min_targets, max_targets and border are {counts}, not {asked}"
    elif width > widest:
        problem = f"its windows are {widest} px wide, and this camera needs {width} px"
    elif law.cluster <= WIDE_CLUSTER < prior.cluster:
        problem = f"its clusters are at most {WIDE_CLUSTER} px wide, not {prior.cluster} px"
    elif outside := outside_of_range(sensor, prior):
        problem = outside
    else:
        return
    raise DistaxError(f"the exported method does not serve this camera: {problem}; export another")
