"""Judgement of the blobs' answers by their shape: flags, scores, and spots for clusters."""

from dataclasses import dataclass, replace

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distax.fitting.misfit import TRUSTED_MISFIT
from distax.frames.cutouts import Cutouts
from distax.frames.detection import Noise
from distax.frames.merging import near_degenerate
from distax.frames.shapes import Shapes, measure_shapes
from distax.frames.spot_answers import absorbed, with_spots
from distax.frames.targets import Flag
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets

_FEWEST_ODD, _MANY_ODD = 5, 0.3
"""Number of blobs, and share of them, that look like lines or edges in a textured frame."""
_PATTERN, _AS_BRIGHT, _MANY = 20.0, 0.5, 5
"""A blob of a textured frame is part of a pattern if at least the last number of others lie within
the first distance in pixels, with at least the second share of its signal-to-noise ratio. A smaller
number takes groups of targets for patterns, a larger one takes parts of patterns for targets."""
_LIKELY = 0.5
"""Probability of a point from which a blob is not taken for part of a line or an edge."""


@dataclass(frozen=True)
class Fits:
    """Fits of point targets to the blobs of a frame.

    Attributes:
      targets: `[K]`, targets in frame coordinates and counts.
      blob: `[K]`, index of each one's blob.
      flags: `[B]`, flags of each blob.
      trusted: `[B]`, True for blobs that the method trusts; None if it does not judge them.
      misfit, count_probability: `[B]`, as the method states them.
    """

    targets: Targets
    blob: Int[np.ndarray, " K"]
    flags: Int[np.ndarray, " B"]
    trusted: Bool[Array | np.ndarray, " B"] | None
    misfit: Float[np.ndarray, " B"]
    count_probability: Float[np.ndarray, " B"]


@dataclass(frozen=True)
class Answers:
    """Answers of a frame, with the fields of `FrameTargets`.

    Attributes:
      targets, blob, flags, misfit, count_probability, point_probability: `[K]`, see `FrameTargets`.
      bright_pixels: number of blobs that are single bright pixels.
    """

    targets: Targets
    blob: Int[np.ndarray, " K"]
    flags: Int[np.ndarray, " K"]
    misfit: Float[np.ndarray, " K"]
    count_probability: Float[np.ndarray, " K"]
    point_probability: Float[np.ndarray, " K"] | None
    bright_pixels: int


def judge(fits: Fits, around: Cutouts, sensor: Sensor, noise: Noise, width_known: bool) -> Answers:
    """Judges each blob by its shape; see `shapes`.

    Blobs that are more likely part of a line or an edge are not trusted. In a textured frame a blob
    at the last pixels of the frame is not trusted either. Another one that one spot explains is
    answered by the spot, and is trusted: the number of targets would follow the texture. An
    extended blob is trusted if the width of the PSF is not known.

    Args:
      fits: the fits of point targets.
      around: windows around the blobs.
      sensor: the sensor.
      noise: kind of the noise. A frame with many lines and edges counts as textured.
      width_known: True if the width of the PSF is given or measured.
    """
    trusted = np.ones(len(fits.flags), bool) if fits.trusted is None else np.asarray(fits.trusted)
    if sensor.measured_psf is not None or sensor.psf_grid is not None:
        return _answers(fits, fits.targets, fits.blob, trusted, None, 0)
    even = noise in ("gaussian", "skewed")
    # In white noise points that explain a blob need no other shape beside them.
    doubtful = fits.misfit >= TRUSTED_MISFIT if even else np.ones(len(fits.flags), bool)
    shapes = _shapes(fits, around, sensor, noise, width_known, doubtful)
    odd = int(np.sum(shapes.probability < _LIKELY))
    if even and odd >= max(_FEWEST_ODD, _MANY_ODD * len(fits.flags)):
        noise = "textured"
        shapes = _shapes(fits, around, sensor, noise, width_known, np.ones(len(fits.flags), bool))
    likely = shapes.probability >= _LIKELY
    if noise == "textured":
        likely &= ~_in_pattern(around.pixel, around.signal_to_noise)
        likely &= ~_at_edge(around.inside)
    hidden = absorbed(shapes, around.pixel, around.signal_to_noise)
    targets, blob = with_spots(fits.targets, fits.blob, shapes, hidden)
    structured = noise in ("textured", "correlated")
    explained = shapes.explained & (structured or not width_known)
    trusted = likely & np.where(shapes.single, explained, trusted)
    spots = replace(
        fits,
        flags=fits.flags | np.where(shapes.extended, int(Flag.EXTENDED), 0),
        misfit=np.where(shapes.single, shapes.misfit, fits.misfit),
        count_probability=np.where(
            shapes.single,
            np.maximum(shapes.probability, fits.count_probability),
            fits.count_probability,
        ),
    )
    bright = int(np.sum(shapes.bright_pixel))
    found = _answers(spots, targets, blob, trusted, shapes.probability, bright)
    return _trusted_first(found) if noise == "textured" else found


def _shapes(
    fits: Fits,
    around: Cutouts,
    sensor: Sensor,
    noise: Noise,
    width_known: bool,
    chosen: Bool[np.ndarray, " B"],
) -> Shapes:
    """Measures the shapes of some blobs; the others are points."""
    members = chosen[fits.blob]
    some: Cutouts = jax.tree.map(lambda leaf: leaf[chosen], around)
    targets: Targets = jax.tree.map(lambda leaf: leaf[members], fits.targets)
    blob = (np.cumsum(chosen) - 1)[fits.blob[members]]
    found = measure_shapes(some, targets, blob, sensor, noise, width_known)
    return found.among(chosen)


def _answers(
    fits: Fits,
    targets: Targets,
    blob: Int[np.ndarray, " K"],
    trusted: Bool[np.ndarray, " B"],
    probability: Float[np.ndarray, " B"] | None,
    bright_pixels: int,
) -> Answers:
    flags = fits.flags | np.where(trusted, 0, int(Flag.UNSURE))
    degenerate = np.where(near_degenerate(targets, blob), int(Flag.NEAR_DEGENERATE), 0)
    likely = None if probability is None else probability[blob]
    if likely is not None:
        targets = replace(targets, score=(targets.score * likely).astype(targets.score.dtype))
    return Answers(
        targets=targets,
        blob=blob,
        flags=flags[blob] | degenerate,
        misfit=fits.misfit[blob],
        count_probability=fits.count_probability[blob],
        point_probability=likely,
        bright_pixels=bright_pixels,
    )


def _in_pattern(
    pixel: Int[np.ndarray, "B 2"], signal_to_noise: Float[np.ndarray, " B"]
) -> Bool[np.ndarray, " B"]:
    """Finds blobs with many others around them that are as bright: windows, letters, texture."""
    from scipy.spatial import cKDTree

    if not len(pixel):
        return np.zeros(0, bool)
    near = cKDTree(pixel).query_ball_point(pixel, _PATTERN)
    alike = [
        np.sum(signal_to_noise[some] > _AS_BRIGHT * own) - 1
        for some, own in zip(near, signal_to_noise, strict=True)
    ]
    return np.array(alike) >= _MANY


def _at_edge(inside: Bool[np.ndarray, "B width width"]) -> Bool[np.ndarray, " B"]:
    """Finds blobs whose brightest pixel is the frame's last: slopes go on there, and peaks end."""
    middle = inside.shape[1] // 2
    near: np.ndarray = inside[:, middle - 1 : middle + 2, middle - 1 : middle + 2]
    return ~np.all(near, axis=(1, 2))


def _trusted_first(answers: Answers) -> Answers:
    order = np.argsort(answers.flags & int(Flag.UNSURE) > 0, kind="stable")
    likely = answers.point_probability
    return replace(
        answers,
        targets=jax.tree.map(lambda leaf: leaf[order], answers.targets),
        blob=answers.blob[order],
        flags=answers.flags[order],
        misfit=answers.misfit[order],
        count_probability=answers.count_probability[order],
        point_probability=None if likely is None else likely[order],
    )
