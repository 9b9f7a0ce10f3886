"""Matching of detections and true targets under the protocol of CSO-mAP (arXiv 2505.19148)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from distax.imaging.targets import Targets, with_slots
from distax.runtime.errors import DistaxError, check_positive


def as_radii(radii: Any) -> tuple[float, ...]:
    """Returns matching radii in pixels as a tuple: from a number, a list or an array of them.

    Raises:
      DistaxError: there are none, or one is not a finite number greater than 0.
    """
    values = [radii] if np.ndim(radii) == 0 else list(radii)
    if not values:
        raise DistaxError("radii must hold at least one matching radius in pixels, got none")
    for value in values:
        check_positive(radii=value)
    return tuple(map(float, values))


def pair_distances(found: Targets, truth: Targets) -> Float[Array, "*batch K M"]:
    """Returns the distance in pixels from each detection to each true target.

    Raises:
      DistaxError: found and truth have different numbers of images.
    """
    answered, images = found.mask.shape[:-1], truth.mask.shape[:-1]
    if answered != images:
        raise DistaxError(
            f"answers of {answered} images cannot be compared with the truth of {images}; give "
            "both for the same images"
        )
    difference = found.position[..., :, None, :] - truth.position[..., None, :, :]
    return jnp.sqrt(jnp.sum(difference**2, axis=-1))


def match(found: Targets, truth: Targets, radii: Float[Array, " R"]) -> Bool[Array, "*batch K R"]:
    """Finds the true positives among the detections, for all radii at once.

    The protocol takes detections in order of falling score. A detection may claim only the true
    target nearest to it. It is a true positive if that target lies within the radius and is not
    claimed yet. This is equivalent: each true target goes to the detection with the highest score
    among those that have it as their nearest target and within the radius. The second form needs no
    loop over detections. Of equal scores the first slot goes first.

    Args:
      found: detections `[..., K]`.
      truth: true targets `[..., M]`.
      radii: matching radii in pixels.

    Returns:
      `[..., K, R]`, True for true positives; False for padding.

    Raises:
      DistaxError: found and truth have different numbers of images.
    """
    answers, found, truth = found.mask.shape[-1], with_slots(found), with_slots(truth)
    distance = pair_distances(found, truth)
    # `argmin` would take NaN for the smallest.
    known = truth.mask[..., None, :] & ~jnp.isnan(distance)
    distance = jnp.where(known, distance, jnp.inf)
    nearest = jnp.argmin(distance, axis=-1)
    within = jnp.min(distance, axis=-1)[..., None] <= radii
    # Axes: image, detection, true target, radius.
    claims = (
        (nearest[..., None] == jnp.arange(truth.mask.shape[-1]))[..., None]
        & within[..., None, :]
        & found.mask[..., None, None]
    )
    claimed_score = jnp.where(claims, found.score[..., None, None], -jnp.inf)
    claimant = jnp.argmax(claimed_score, axis=-3, keepdims=True)
    slots = jnp.arange(found.mask.shape[-1])[:, None, None]
    return jnp.any(claims & (slots == claimant), axis=-2)[..., :answers, :]


@jax.jit  # so that JAX traces it once where it is used several times
def best_partners(benefit: Float[Array, "K M"]) -> Int[Array, " K"]:
    """Pairs rows and columns one to one with the largest sum of benefits (Hungarian algorithm).

    Returns:
      `[K]`, each row's column; −1 for a row that is left over. A pair whose benefit is not positive
      is never made.
    """
    row, column = optax.assignment.hungarian_algorithm(-jnp.maximum(benefit, 0.0))
    made = benefit[row, column] > 0
    return jnp.full(len(benefit), -1).at[row].set(jnp.where(made, column, -1))


def all_best_partners(benefit: Float[Array, "*batch K M"]) -> Int[Array, "*batch K"]:
    """Pairs rows and columns of each of several tables, as `best_partners` does."""
    partner = jax.vmap(best_partners)(benefit.reshape(-1, *benefit.shape[-2:]))
    return partner.reshape(benefit.shape[:-1])


def all_best_partners_on_host(benefit: Float[Array, "*batch K M"]) -> Int[np.ndarray, "*batch K"]:
    """Pairs rows and columns of each of several tables with SciPy, which cannot be traced."""
    from scipy.optimize import linear_sum_assignment

    tables = np.maximum(benefit, 0.0)
    partner = np.full(tables.shape[:-1], -1, np.int32)
    for place in np.ndindex(tables.shape[:-2]):
        row, column = linear_sum_assignment(tables[place], maximize=True)
        made = tables[place][row, column] > 0
        partner[place][row[made]] = column[made]
    return partner


def pair_benefit(
    distance: Float[Array, "*batch K M"], close: Bool[Array | np.ndarray, "*batch K M"]
) -> Float[Array, "*batch K M"]:
    """Returns the benefits whose sum is largest for the most pairs and, of these, the nearest.

    Args:
      distance: distance of each pair in pixels.
      close: True for pairs that may be made.
    """
    # From 1 to a little more, so that no number of nearer pairs outweighs another pair.
    most = min(close.shape[-2:])
    share = distance / farthest_pair(distance, close)
    return jnp.where(close, 1.0 + (1.0 - share) / (most + 1), 0.0)


def farthest_pair(
    distance: Float[Array, "*batch K M"], close: Bool[Array | np.ndarray, "*batch K M"]
) -> Float[Array, "*batch 1 1"]:
    """Returns the largest distance of the pairs that may be made; 1 if it is zero or there is none.

    In units of it float32 tells the pairs' distances apart, however large the radius is.
    """
    largest = jnp.max(jnp.where(close, distance, 0.0), axis=(-2, -1), keepdims=True, initial=0.0)
    return jnp.where(largest > 0, largest, 1.0)


def pair_within(
    found: Targets,
    truth: Targets,
    radii: Float[Array, " R"],
    solve: Callable[[Array], Array | np.ndarray] = all_best_partners,
) -> Int[Array, "*batch K R"]:
    """Pairs found and true targets one to one within each radius (Hungarian algorithm).

    As many pairs are made as possible and, of all ways to make that many, those with the smallest
    sum of distances. Unlike `match`, no order of the detections plays a part.

    Args:
      found: detections `[..., K]`.
      truth: true targets `[..., M]`.
      radii: matching radii in pixels.
      solve: `all_best_partners`, or the same on the host, which is faster for hundreds of targets.

    Returns:
      `[..., K, R]`, slot of the true target; −1 for padding and for detections without a partner.

    Raises:
      DistaxError: found and truth have different numbers of images.
    """
    answers, found, truth = found.mask.shape[-1], with_slots(found), with_slots(truth)
    distance = pair_distances(found, truth)[..., None, :, :]
    real = found.mask[..., None, :, None] & truth.mask[..., None, None, :]
    close = real & (distance <= radii[:, None, None])
    partner = solve(pair_benefit(jnp.broadcast_to(distance, close.shape), close))
    return jnp.moveaxis(jnp.asarray(partner), -2, -1)[..., :answers, :]
