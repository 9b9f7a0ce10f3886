"""Distance between two sets of targets, which may differ in number: GOSPA with α = 2.

Rahmathullah, García-Fernández & Svensson, "Generalized optimal sub-pattern assignment metric",
Fusion 2017, equation 3 and proposition 1.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from distax.imaging.targets import Targets, with_slots
from distax.metrics.cso import RADII
from distax.metrics.matching import all_best_partners, farthest_pair, pair_distances
from distax.runtime.errors import DistaxError, check_positive
from distax.runtime.pytree import pytree

CUTOFF = RADII[-1]
"""Distance in pixels from which a pair is as bad as one missed and one false target."""
ORDER = 2.0
"""Power of the distances. Larger ones weigh large errors more."""


@pytree
class Gospa:
    """GOSPA of each image, and the three parts of its p-th power in px^p.

    Attributes:
      localization: `[...]`, sum of the pairs' distances to the power p.
      missed: `[...]`, c^p / 2 for each true target without a partner.
      false: `[...]`, c^p / 2 for each found target without one.
      distance: `[...]`, GOSPA in pixels: the p-th root of the sum of the three.
    """

    localization: Float[Array, "*batch"]
    missed: Float[Array, "*batch"]
    false: Float[Array, "*batch"]
    distance: Float[Array, "*batch"]


def gospa(
    found: Targets,
    truth: Targets,
    cutoff: float = CUTOFF,
    order: float = ORDER,
    solve: Callable[[Array], Array | np.ndarray] = all_best_partners,
) -> Gospa:
    """Computes the GOSPA distance of each image's found and true targets.

    Args:
      found: found targets `[..., K]`.
      truth: true targets `[..., M]` of the same images.
      cutoff: the metric's c in pixels.
      order: the metric's p, at least 1.
      solve: as for `pair_within`.

    Raises:
      DistaxError: found and truth have different numbers of images; `cutoff` is not greater than
        0, or `order` is less than 1.
    """
    check_positive(cutoff=cutoff, order=order)
    if order < 1:
        raise DistaxError(f"order must be at least 1, got {order}: GOSPA is no metric below")
    found, truth = with_slots(found), with_slots(truth)
    distance = pair_distances(found, truth)
    real = found.mask[..., :, None] & truth.mask[..., None, :]
    near = real & (distance < cutoff)
    partner = jnp.asarray(solve(_saved(distance, near, cutoff, order)))
    paired = partner >= 0
    # Distances are divided by c, so that float32 holds their powers for any c.
    ratio = jnp.where(near, distance / cutoff, 1.0) ** order
    own = jnp.take_along_axis(ratio, jnp.maximum(partner, 0)[..., None], axis=-1)[..., 0]
    pairs = jnp.sum(paired, axis=-1)
    localization = jnp.sum(jnp.where(paired, own, 0.0), axis=-1)
    missed, false = ((targets.count - pairs) / 2 for targets in (truth, found))
    return Gospa(
        localization=localization * cutoff**order,
        missed=missed * cutoff**order,
        false=false * cutoff**order,
        distance=cutoff * (localization + missed + false) ** (1 / order),
    )


def _saved(
    distance: Float[Array, "*batch K M"],
    near: Bool[Array | np.ndarray, "*batch K M"],
    cutoff: float,
    order: float,
) -> Float[Array, "*batch K M"]:
    """Computes what each pair saves compared with a missed and a false target: c^p − d^p.

    It is in units of the p-th power of the farthest pair's distance. In these units no set of pairs
    costs more than their number. Beyond that, c^p only says that as many pairs as possible are to
    be made, and a larger value would hide the distances beside it.
    """
    unit = farthest_pair(distance, near)
    most = min(near.shape[-2:]) + 1
    whole = jnp.minimum((cutoff / unit) ** order, most)
    return jnp.where(near, whole - (distance / unit) ** order, 0.0)
