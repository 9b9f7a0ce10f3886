"""Sets of point targets: one type for truth, detections and fits."""

import math
from dataclasses import replace
from typing import Any, SupportsFloat

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from distax.runtime.errors import DistaxError
from distax.runtime.html import plain_table
from distax.runtime.pytree import pytree

CREDIBLE_LEVELS = (0.5, 0.9, 0.95)
"""Probabilities of the regions that `Targets.credible_radius` describes."""

_LISTED = 5
"""Images whose targets a notebook lists. More push the text around the table out of view."""

OF_TARGETS = (
    *("position", "intensity", "score", "covariance", "intensity_std"),
    *("hit_probability", "credible_radius"),
)
"""Fields that hold a value for each target. The others hold one for each image."""

_HEADINGS = ("image", "row / px", "column / px", "intensity / counts", "score", "trusted")


@pytree
class Targets:
    """Up to K targets in each image, padded to a fixed K so that `jit` and `vmap` work.

    The fields after `score` are None unless the estimator computes them.

    Attributes:
      position: `[..., K, 2]`, row and column in pixels; (0, 0) is the centre of the first pixel.
      intensity: `[..., K]`, total flux in sensor counts.
      mask: `[..., K]`, False for padding.
      score: `[..., K]`, value that ranks detections, highest first; the intensity, unless the
        estimator computes a better one.
      covariance: `[..., K, 2, 2]`, covariance of the position in px².
      intensity_std: `[..., K]`, standard deviation of the intensity in counts.
      hit_probability: `[..., K, R]`, probability that the target lies within each of
        `metrics.RADII`.
      credible_radius: `[..., K, L]`, distance from the position in pixels within which the target
        lies with each probability of `CREDIBLE_LEVELS`.
      count_probability: `[...]`, probability that the image has the reported number of targets.
      misfit: `[...]`, root-mean-square residual of the fitted pixels, relative to the standard
        deviation of noise and rounding; about 1 when the imaging model holds.
      trusted: `[...]`, False for answers that should not be relied upon.
    """

    position: Float[Array | np.ndarray, "*batch K 2"]
    intensity: Float[Array | np.ndarray, "*batch K"]
    mask: Bool[Array | np.ndarray, "*batch K"]
    score: Float[Array | np.ndarray, "*batch K"]
    covariance: Float[Array | np.ndarray, "*batch K 2 2"] | None = None
    intensity_std: Float[Array | np.ndarray, "*batch K"] | None = None
    hit_probability: Float[Array | np.ndarray, "*batch K R"] | None = None
    credible_radius: Float[Array | np.ndarray, "*batch K L"] | None = None
    count_probability: Float[Array | np.ndarray, "*batch"] | None = None
    misfit: Float[Array | np.ndarray, "*batch"] | None = None
    trusted: Bool[Array | np.ndarray, "*batch"] | None = None

    @property
    def count(self) -> Int[Array, "*batch"]:
        """Number of targets in each image."""
        return jnp.sum(self.mask, axis=-1)

    @property
    def position_std(self) -> Float[Array, "*batch K 2"] | None:
        """Standard deviations of row and column in pixels; None if the covariance is not known."""
        if self.covariance is None:
            return None
        return jnp.sqrt(jnp.diagonal(self.covariance, axis1=-2, axis2=-1))

    @property
    def flux(self) -> Float[Array, "*batch K"]:
        """Intensity with padding set to zero."""
        return jnp.where(self.mask, self.intensity, 0.0)

    @property
    def place(self) -> Float[Array, "*batch K 2"]:
        """Position with padding set to zero, so that NaN in padding does not spread."""
        return jnp.where(self.mask[..., None], self.position, 0.0)

    def _repr_html_(self) -> str | None:
        """Writes a table of the targets, for notebooks."""
        return _html(self)


def make_targets(
    position: Float[Array | np.ndarray, "*batch K 2"],
    intensity: Float[Array | np.ndarray, "*batch K"],
    mask: Bool[Array | np.ndarray, "*batch K"] | None = None,
    score: Float[Array | np.ndarray, "*batch K"] | None = None,
) -> Targets:
    """Makes targets from arrays.

    Args:
      position: row and column in pixels.
      intensity: total flux in counts.
      mask: False for padding. Default: every slot is a target.
      score: value that ranks detections, highest first. Default: the intensity.
    """
    if mask is None:
        mask = jnp.ones(jnp.shape(intensity), dtype=bool)
    return Targets(
        position=position,
        intensity=intensity,
        mask=mask,
        score=intensity if score is None else score,
    )


def clear_padding(targets: Targets) -> Targets:
    """Sets the values of padding to zero, so that nobody takes padding for targets.

    Args:
      targets: targets whose padding may hold any value, NaN included.
    """
    cleared: dict[str, Any] = {}
    for name in OF_TARGETS:
        if (value := getattr(targets, name)) is not None:
            inner = jnp.ndim(value) - jnp.ndim(targets.mask)
            mask = jnp.expand_dims(targets.mask, tuple(range(-inner, 0)))
            cleared[name] = jnp.where(mask, value, 0)
    return replace(targets, **cleared)


def check_shapes(**sets: Targets) -> None:
    """Raises DistaxError for the first field, of sets of targets by name, that does not fit."""
    for name, targets in sets.items():
        slots = jnp.shape(targets.mask)
        inner = {"position": (2,), "covariance": (2, 2)}
        for field in ("position", "intensity", "score", "covariance", "intensity_std"):
            value, wanted = getattr(targets, field), (*slots, *inner.get(field, ()))
            if value is not None and jnp.shape(value) != wanted:
                raise DistaxError(
                    f"{name}: {field} has shape {jnp.shape(value)}, which does not fit the mask's "
                    f"{slots}; it must be {wanted}"
                )


def check_known_places(truth: Targets) -> None:
    """Raises DistaxError if a true target has a position that is not finite."""
    lost = np.asarray(truth.mask) & ~np.isfinite(np.asarray(truth.position)).all(axis=-1)
    if lost.any():
        place = tuple(np.argwhere(lost)[0].tolist())
        raise DistaxError(
            f"truth: the position of the target in slot {place} is not finite; correct it, or set "
            "its mask to False"
        )


def with_slots(targets: Targets, least: int = 1) -> Targets:
    """Adds padding to targets of fewer than `least` slots; returns others as they are.

    A search for the nearest of no targets has no answer. One for the nearest of padding has.
    """
    short = least - targets.mask.shape[-1]
    if short <= 0:
        return targets
    axis = jnp.ndim(targets.mask) - 1

    def pad(leaf: Array | np.ndarray) -> Array:
        return jnp.pad(leaf, [(0, short if place == axis else 0) for place in range(leaf.ndim)])

    fields = {name: getattr(targets, name) for name in ("mask", *OF_TARGETS)}
    return replace(
        targets, **{name: pad(leaf) for name, leaf in fields.items() if leaf is not None}
    )


def _html(targets: Targets) -> str | None:
    """Writes a table of the first images' targets; returns None if the arrays hold no numbers.

    With several batch axes images are numbered in row-major order. “–” stands for values that the
    estimator does not compute.
    """
    leaves = jax.tree.leaves(targets)
    if not leaves or not all(map(_is_concrete, leaves)):
        return None
    arrays = jax.tree.map(np.asarray, targets)
    batch = arrays.mask.shape[:-1]
    images = math.prod(batch)
    flat = jax.tree.map(lambda leaf: leaf.reshape(images, *leaf.shape[len(batch) :]), arrays)
    listed = range(min(images, _LISTED))
    rows = [row for image in listed for row in _target_rows(image, _one(flat, image))]
    summary = f"{_counted(images, 'image')}, {_counted(int(flat.mask.sum()), 'target')}"
    if images > _LISTED:
        summary += f"; the first {_LISTED} images:"
    return f"<p>{summary}</p>{plain_table(_HEADINGS, rows)}"


def _is_concrete(leaf: Any) -> bool:
    """True if a leaf holds numbers. Leaves of a function that JAX traces or shapes hold none."""
    return isinstance(leaf, np.ndarray | jax.Array) and not isinstance(leaf, jax.core.Tracer)


def _one(targets: Targets, image: int) -> Targets:
    return jax.tree.map(lambda leaf: leaf[image, ...], targets)


def _target_rows(image: int, targets: Targets) -> list[list[object]]:
    """Returns a table row for each target of one image, or one row for an image without targets."""
    trusted = "–" if targets.trusted is None else "yes" if targets.trusted else "no"
    slots = np.flatnonzero(targets.mask)
    if not len(slots):
        return [[image, "no target", "", "", "", trusted]]
    deviation = targets.position_std
    rows: list[list[object]] = []
    for slot in slots:
        deviations = (None, None) if deviation is None else deviation[slot]
        spread = None if targets.intensity_std is None else targets.intensity_std[slot]
        place = zip(targets.position[slot], deviations, strict=True)
        cells = [_measured(value, error, 3) for value, error in place]
        cells += [_measured(targets.intensity[slot], spread, 1), f"{targets.score[slot]:.3g}"]
        rows.append([image, *cells, trusted])
    return rows


def _measured(value: SupportsFloat, deviation: SupportsFloat | None, digits: int) -> str:
    error = "" if deviation is None else f" ± {float(deviation):.{digits}f}"
    return f"{float(value):.{digits}f}{error}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
