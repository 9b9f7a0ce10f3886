"""Simulated frames with their truth: clusters, stars, a gradient, noise and bad pixels."""

import math
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from distax.imaging.forward import render
from distax.imaging.scenes import ScenePrior, sample_around_origin
from distax.imaging.sensor import Sensor, expose
from distax.imaging.targets import Targets
from distax.runtime.errors import DistaxError, check_not_negative, check_positive
from distax.runtime.fields import check_fields
from distax.runtime.numerics import threefry

_SPACING = 16
"""Side in pixels of the squares that each hold at most one cluster or star. Smaller squares leave
room for more, but let blobs overlap."""
_HOT = 100.0
"""Largest excess of a hot pixel in standard deviations of the read noise, or in counts if that is
below one."""


@dataclass(frozen=True)
class FrameScene:
    """Content of a simulated frame.

    Attributes:
      height, width: size of the frame in pixels.
      clusters: number of clusters of close targets. The host pixels of clusters and stars are at
        least eight pixels apart.
      prior: prior of a cluster: number, distances and intensities of its targets.
      stars: number of single targets.
      star_intensity: bounds in counts of a star's intensity, which is log-uniform.
      gradient: rise of the background in counts from the first corner to the last.
      bad_pixels: share of bad pixels, half of them NaN and half of them hot.

    Raises:
      DistaxError: a size or star intensity is not positive, a number is negative, the share lies
        outside 0..1, or the frame has too little room for the clusters and stars.
    """

    height: int = 512
    width: int = 640
    clusters: int = 100
    prior: ScenePrior = ScenePrior()
    stars: int = 30
    star_intensity: tuple[float, float] = (50.0, 5000.0)
    gradient: float = 20.0
    bad_pixels: float = 1e-4

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(height=self.height, width=self.width)
        room = (self.height // _SPACING) * (self.width // _SPACING)
        check_not_negative(clusters=self.clusters, stars=self.stars)
        if self.clusters + self.stars > room:
            raise DistaxError(
                f"a frame of {self.height}×{self.width} px has room for {room} clusters and stars, "
                f"not for {self.clusters + self.stars}"
            )
        if not 0 <= self.bad_pixels <= 1:
            raise DistaxError(f"bad_pixels must lie between 0 and 1, got {self.bad_pixels}")
        low, high = self.star_intensity
        if not 0 < low <= high < math.inf:
            raise DistaxError(
                "star_intensity must be two bounds greater than 0, the lower first, got "
                f"{self.star_intensity}"
            )


FRAME_SENSOR = Sensor(saturation=None, bit_depth=None, read_noise=2.0, background=100.0)
"""Default sensor of simulated frames."""


@dataclass(frozen=True)
class FrameTruth:
    """True targets of a frame.

    Attributes:
      targets: `[K]`, targets in frame coordinates, without padding.
      group: `[K]`, index of each target's cluster or star, clusters first.
    """

    targets: Targets
    group: Int[np.ndarray, " K"]


def simulate_frame(
    key: PRNGKeyArray, scene: FrameScene = FrameScene(), sensor: Sensor = FRAME_SENSOR
) -> tuple[Float[np.ndarray, "height width"], FrameTruth]:
    """Simulates a frame of a sensor, with its true targets.

    Args:
      key: random key; the same key gives the same frame.
      scene: content of the frame.
      sensor: PSF, noise, clipping and background level. Its size is replaced by the scene's. With a
        grid of PSFs each target has the PSF of its position.
    """
    sensor = replace(sensor, height=scene.height, width=scene.width)
    place_key, cluster_key, star_key, noise_key, bad_key = jax.random.split(threefry(key), 5)
    hosts = _draw_hosts(place_key, scene)
    clusters = sample_around_origin(cluster_key, scene.clusters, scene.prior)
    position = clusters.position + hosts[: scene.clusters, None]
    offset_key, flux_key = jax.random.split(star_key)
    star = hosts[scene.clusters :] + jax.random.uniform(offset_key, (scene.stars, 2)) - 0.5
    low, high = jnp.log(jnp.array(scene.star_intensity))
    flux = jnp.exp(jax.random.uniform(flux_key, (scene.stars,), minval=low, maxval=high))
    truth = _join_truth(position, clusters, star, flux)
    image = _render_frame(truth.targets, sensor) + _gradient(scene)
    return _add_bad_pixels(
        bad_key, np.array(expose(noise_key, image, sensor)), scene, sensor
    ), truth


def _draw_hosts(key: PRNGKeyArray, scene: FrameScene) -> Int[Array, "N 2"]:
    """Draws a host pixel for each cluster and star, each in a square of its own.

    Hosts keep a margin from the edges of their squares, and so from each other and from the frame's
    edge.
    """
    rows, columns = scene.height // _SPACING, scene.width // _SPACING
    cell_key, place_key = jax.random.split(key)
    number = scene.clusters + scene.stars
    cell = jax.random.permutation(cell_key, rows * columns)[:number]
    corner = jnp.stack([cell // columns, cell % columns], axis=-1) * _SPACING
    margin = _SPACING // 4
    return corner + jax.random.randint(place_key, (number, 2), margin, _SPACING - margin + 1)


def _join_truth(
    position: Float[Array, "C K 2"],
    clusters: Targets,
    star: Float[Array, "S 2"],
    flux: Float[Array, " S"],
) -> FrameTruth:
    mask = np.asarray(clusters.mask)
    intensity = np.concatenate([np.asarray(clusters.intensity)[mask], np.asarray(flux)])
    everything = np.concatenate([np.asarray(position)[mask], np.asarray(star)])
    group = np.concatenate([np.nonzero(mask)[0], len(mask) + np.arange(len(flux))])
    targets = Targets(
        position=everything, intensity=intensity, mask=np.ones(len(group), bool), score=intensity
    )
    return FrameTruth(targets=targets, group=group)


def _render_frame(targets: Targets, sensor: Sensor) -> Float[Array, "height width"]:
    """Renders a frame, target by target if the PSF varies."""
    if sensor.psf_grid is None:
        return render(targets, sensor)
    psfs = sensor.psf_grid.psfs_at(np.asarray(targets.position, float))
    sensor = replace(sensor, psf_grid=None)

    def add(image: Array, row: tuple[Targets, Any]) -> tuple[Array, None]:
        alone = jax.tree.map(lambda leaf: leaf[None], row[0])
        return image + render(alone, sensor.with_psf(row[1])), None

    return jax.lax.scan(add, jnp.zeros(sensor.shape), (targets, psfs))[0]


def _gradient(scene: FrameScene) -> Float[Array, "height width"]:
    down = jnp.linspace(0.0, 0.5, scene.height)[:, None]
    across = jnp.linspace(0.0, 0.5, scene.width)
    return scene.gradient * (down + across)


def _add_bad_pixels(
    key: PRNGKeyArray, frame: np.ndarray, scene: FrameScene, sensor: Sensor
) -> Float[np.ndarray, "height width"]:
    number = round(scene.bad_pixels * frame.size)
    place_key, excess_key = jax.random.split(key)
    pixel = np.asarray(jax.random.choice(place_key, frame.size, (number,), replace=False))
    excess = np.asarray(jax.random.uniform(excess_key, (number,)))
    flat = frame.reshape(-1)
    flat[pixel] += _HOT * max(sensor.read_noise, 1.0) * excess
    flat[pixel[: number // 2]] = np.nan
    return np.minimum(frame, sensor.clip_level)
