"""Simulated sequences of whole frames with their truth: moving targets under a shaking camera."""

import math
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray

from distax.frames.simulation import FRAME_SENSOR
from distax.imaging.forward import render
from distax.imaging.sensor import Sensor, expose
from distax.imaging.targets import Targets
from distax.runtime.errors import DistaxError, check_not_negative, check_positive
from distax.runtime.fields import check_fields
from distax.runtime.numerics import threefry

_MARGIN = 6.0
"""Least distance in pixels of a target from the edge, the largest shift of the camera aside. Nearer
to the edge part of its light is lost."""
_LARGEST = 4.0
"""Standard deviations that a shift of the camera keeps within with room to spare."""


@dataclass(frozen=True)
class FrameSequence:
    """Content of a simulated sequence of whole frames.

    A target moves in a straight line, with its own velocity and a constant intensity. The camera
    shakes: each frame is shifted on its own, and all frames may drift. The scene behind the targets
    moves with the camera.

    Attributes:
      height, width: size of a frame in pixels.
      frames: number of frames.
      targets: number of targets.
      intensity: bounds in counts of a target's intensity, which is log-uniform.
      speed: largest speed of a target in pixels per frame; velocities are uniform in that disc.
      short: share of the targets that appear in the first half of the sequence or vanish in the
        second.
      missing: share of a target's frames, its first and last aside, in which it is dark.
      jitter: standard deviation along each axis of the camera's shift in a frame, in pixels.
      drift: rows and columns by which the camera's image drifts from frame to frame, in pixels.
      texture: standard deviation of the scene's structure in counts.
      texture_scale: standard deviation in pixels of the Gaussian that smooths it.

    Raises:
      DistaxError: a number is out of range, or the frames have too little room for the motion.
    """

    height: int = 128
    width: int = 128
    frames: int = 20
    targets: int = 10
    intensity: tuple[float, float] = (200.0, 2000.0)
    speed: float = 1.0
    short: float = 0.3
    missing: float = 0.0
    jitter: float = 0.5
    drift: tuple[float, float] = (0.0, 0.0)
    texture: float = 0.0
    texture_scale: float = 2.0

    def __post_init__(self) -> None:
        check_fields(self)
        check_positive(
            height=self.height, width=self.width, frames=self.frames, targets=self.targets
        )
        check_positive(texture_scale=self.texture_scale)
        check_not_negative(speed=self.speed, jitter=self.jitter, texture=self.texture)
        for name in ("short", "missing"):
            if not 0 <= (share := getattr(self, name)) <= 1:
                raise DistaxError(f"{name} must lie between 0 and 1, got {share}")
        low, high = self.intensity
        if not 0 < low <= high < math.inf:
            raise DistaxError(
                "intensity must be two bounds greater than 0, the lower first, got "
                f"{self.intensity}"
            )
        if min(self.height, self.width) / 2 <= np.max(self._reach):
            raise DistaxError(
                f"targets need {2 * np.max(self._reach):.0f} px for their motion and the camera's "
                f"in {self.frames} frames, the frame has {self.height}×{self.width}; lower speed, "
                "drift, jitter or frames, or enlarge the frame"
            )

    @property
    def _reach(self) -> Float[np.ndarray, "2"]:
        """Least distance of the middle of a target's path from the edge along each axis."""
        own = (self.speed + np.abs(self.drift)) * (self.frames - 1) / 2
        return _MARGIN + _LARGEST * self.jitter + own


@dataclass(frozen=True)
class SequenceTruth:
    """Truth of a simulated sequence.

    Attributes:
      targets: `[T, L]`, true targets in the frames, the camera's shift included; a slot is the same
        target in every frame. The mask is False where a target is not there or dark.
      velocity: `[L, 2]` in pixels per frame, without the camera's shift.
      shift: `[T, 2]`, the camera's shift in pixels.
    """

    targets: Targets
    velocity: Float[np.ndarray, "L 2"]
    shift: Float[np.ndarray, "T 2"]


def simulate_frames(
    key: PRNGKeyArray,
    sequence: FrameSequence = FrameSequence(),
    sensor: Sensor = FRAME_SENSOR,
) -> tuple[Float[np.ndarray, "T height width"], SequenceTruth]:
    """Simulates a sequence of whole frames of a sensor, with its truth.

    Args:
      key: random key; the same key gives the same frames.
      sequence: content of the frames.
      sensor: PSF, noise, clipping and background level. Its size is replaced by the sequence's.
    """
    sensor = replace(sensor, height=sequence.height, width=sequence.width)
    motion_key, life_key, shift_key, scene_key, noise_key = jax.random.split(threefry(key), 5)
    time = jnp.arange(sequence.frames) - (sequence.frames - 1) / 2
    jitter = sequence.jitter * jax.random.truncated_normal(
        shift_key, -_LARGEST, _LARGEST, (sequence.frames, 2)
    )
    shift = jitter + time[:, None] * jnp.array(sequence.drift)
    start, velocity, intensity = _draw_targets(motion_key, sequence)
    position = start + time[:, None, None] * velocity + shift[:, None]
    mask = _draw_lives(life_key, sequence)
    light = jnp.where(mask, intensity, 0.0)
    truth = Targets(
        position=np.asarray(jnp.where(mask[..., None], position, 0.0)),
        intensity=np.asarray(light),
        mask=np.asarray(mask),
        score=np.asarray(light),
    )
    image = render(truth, sensor) + _scene(scene_key, sequence, shift)
    frames = expose(noise_key, image, sensor)
    return np.asarray(frames), SequenceTruth(truth, np.asarray(velocity), np.asarray(shift))


def _draw_targets(
    key: Key[Array, ""], sequence: FrameSequence
) -> tuple[Float[Array, "L 2"], Float[Array, "L 2"], Float[Array, " L"]]:
    """Draws the middle of each target's path, its velocity and its intensity."""
    place_key, speed_key, angle_key, light_key = jax.random.split(key, 4)
    number = (sequence.targets,)
    size = jnp.array([sequence.height, sequence.width])
    reach = jnp.array(sequence._reach)
    share = jax.random.uniform(place_key, (*number, 2))
    middle = reach - 0.5 + share * (size - 2 * reach)
    speed = sequence.speed * jnp.sqrt(jax.random.uniform(speed_key, number))
    angle = 2 * jnp.pi * jax.random.uniform(angle_key, number)
    velocity = speed[:, None] * jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1)
    low, high = np.log(sequence.intensity)
    intensity = jnp.exp(jax.random.uniform(light_key, number, minval=low, maxval=high))
    return middle, velocity, intensity


def _draw_lives(key: Key[Array, ""], sequence: FrameSequence) -> Bool[Array, "T L"]:
    """Draws the frames in which each target is seen."""
    kind_key, time_key, dark_key = jax.random.split(key, 3)
    frames, number = sequence.frames, (sequence.targets,)
    kind = jax.random.uniform(kind_key, number) / max(sequence.short, 1e-9)
    cut = jax.random.randint(time_key, number, 1, max(frames // 2, 2))
    first = jnp.where(kind < 0.5, cut, 0)
    last = jnp.where((kind >= 0.5) & (kind < 1), frames - 1 - cut, frames - 1)
    time = jnp.arange(frames)[:, None]
    dark = jax.random.uniform(dark_key, (frames, *number)) < sequence.missing
    return (time >= first) & (time <= last) & ~(dark & (time > first) & (time < last))


@partial(jax.jit, static_argnames="sequence")
def _scene(
    key: Key[Array, ""], sequence: FrameSequence, shift: Float[Array, "T 2"]
) -> Float[Array, "T height width"]:
    """Draws the scene behind the targets, which repeats at the edges, shifted in each frame."""
    shape = sequence.height, sequence.width
    rows, columns = jnp.fft.fftfreq(shape[0])[:, None], jnp.fft.rfftfreq(shape[1])
    smooth = jnp.exp(-2 * (jnp.pi * sequence.texture_scale) ** 2 * (rows**2 + columns**2))
    wave = smooth * jnp.fft.rfft2(jax.random.normal(key, shape))
    image = jnp.fft.irfft2(wave, shape)
    wave = sequence.texture / jnp.std(image) * wave
    phase = shift[:, 0, None, None] * rows + shift[:, 1, None, None] * columns
    return jnp.fft.irfft2(wave * jnp.exp(-2j * jnp.pi * phase), shape)
