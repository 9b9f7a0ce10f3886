"""A grid model with a head that counts the targets and moves them off the grid."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from distax.imaging.scenes import ScenePrior
from distax.imaging.targets import Targets, clear_padding
from distax.metrics.decision import choose_positions, nearest_mass
from distax.models.base import GridModel, Model
from distax.models.density.counting import check_countable, count_loss, count_targets
from distax.models.density.summary import (
    density_within,
    distance_grid,
    hits_and_radii,
    normalise,
)
from distax.models.density.view import View, look_through, pixel_features
from distax.models.layers.linear import ResidualBlock, linear
from distax.models.offsets.mixture import OUTPUTS, Mixture, make_mixture
from distax.models.registry import register_head
from distax.runtime.errors import DistaxError, check_at_most, check_positive
from distax.runtime.numerics import exact_products

_SCALE = 100.0
"""Counts by which grids are divided in the head's inputs, so that a bright node is about 1."""
_CELL = 0.02
"""Width in pixels over which the edges of the discs of `metrics.decision` are smoothed. With a
smaller one the number of hits jumps from point to point of a component. A larger one blurs the
smallest disc, which has a radius of 0.05 px."""

_FARTHEST = 20.0
"""Largest distance of the prior's intensities from the head's mean, in units of its spread. The
prior of CSIST-100K has 1.7. The head's outputs would take long to reach farther ones."""


@register_head("offset")
class GuidedOffsets(Model):
    """A grid model with a head that answers off the grid, guided by the number of targets.

    The head sees a window of the image and of the grid model's answer. It gives the number of
    targets, and a Gaussian for each node around the blob's middle: the probability that a target
    belongs to the node, its offset from the node with a covariance, and its intensity. Together the
    Gaussians are the density of one target's position and intensity. Grid model and head are
    trained end to end by the likelihood of the true targets under this density, so the grid becomes
    what serves the head best. If an image has several explanations, the density keeps all of them.
    `detect` reports the positions with the largest expected number of hits, as many as the head
    counts.

    Counting first, and then offsets from nodes, is the idea of DISTA-Net++ (arXiv 2609.18773). Its
    code is not public; the density, its training and the decision are our own.

    Args:
      inner: the grid model.
      width: number of features of an image in the head.
      blocks: number of the head's residual blocks.
      window: side in pixels of the head's window, odd.
      reach: largest offset in pixels along each axis of a target from the window's middle pixel.
      max_targets: largest number of targets in an image.
      mean_intensity: mean in counts of the intensities in the training's scenes. Default:
        CSIST-100K's.
      intensity_spread: standard deviation in counts of these intensities. Default: CSIST-100K's.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: a size is not positive; the window is even; the window, the reach or the number
        of targets is too large for the images.
    """

    def __init__(
        self,
        inner: GridModel,
        *,
        width: int = 512,
        blocks: int = 4,
        window: int = 7,
        reach: float = 0.6,
        max_targets: int = 5,
        mean_intensity: float = 235.0,
        intensity_spread: float = 30 / math.sqrt(12),
        rngs: nnx.Rngs,
    ):
        check_positive(
            head_width=width,
            head_blocks=blocks,
            head_window=window,
            head_reach=reach,
            head_max_targets=max_targets,
            head_mean_intensity=mean_intensity,
            head_intensity_spread=intensity_spread,
        )
        if window % 2 == 0:
            raise DistaxError(f"head_window must be odd, got {window}")
        side = max(inner.sensor.shape)
        check_at_most(
            f"for images of {inner.sensor.height}×{inner.sensor.width}",
            head_window=(window, 2 * side + 1),
            head_reach=(reach, side / 2),
            head_max_targets=(max_targets, math.prod(inner.sensor.shape)),
        )
        self.inner, self.sensor = inner, inner.sensor
        self.window, self.reach, self.max_targets = window, reach, max_targets
        self.mean_intensity, self.intensity_spread = mean_intensity, intensity_spread
        inputs = (4 + inner.factor**2) * window**2
        self.embed = linear(inputs, width, 2.0, rngs)
        self.blocks = nnx.List(ResidualBlock(width, 0.1 / blocks, rngs) for _ in range(blocks))
        self.norm = nnx.RMSNorm(width, rngs=rngs)
        self.offset = linear(width, OUTPUTS * len(self.nodes), 0.01, rngs)
        self.number = linear(width, max_targets, 0.01, rngs)

    @property
    def nodes(self) -> Float[np.ndarray, "nodes 2"]:
        """Positions of the grid nodes that cover the reach, in pixels from the window's middle."""
        factor = self.inner.factor
        farthest = math.ceil(self.reach * factor)
        axis = np.arange(-farthest, farthest + 1, dtype=np.float32) / factor
        return np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)

    def describe(
        self, view: View, grids: Float[Array, "B fine_height fine_width"]
    ) -> tuple[Mixture, Float[Array, "B numbers"]]:
        """Computes the density of a target, and logits of 1, 2, 3, … targets.

        Args:
          view: the view of the images.
          grids: the grid model's output for the images.
        """
        seen = view.turn_grids(grids, self.inner.factor).reshape(len(grids), -1)
        pixels = pixel_features(view.window, self.sensor.clip_level - self.sensor.background)
        x = self.embed(jnp.concatenate([pixels, seen / _SCALE], axis=-1))
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        outputs = self.offset(x).reshape(len(x), -1, OUTPUTS)
        return make_mixture(outputs, self.nodes, 1 / self.inner.factor), self.number(x)

    def loss(self, images: Float[Array, "B height width"], targets: Targets) -> Float[Array, ""]:
        """Computes the negative log-likelihood per target, plus the loss of the number of targets.

        The likelihood is that of the target's position in pixels and of its intensity in standard
        deviations of the prior's.
        """
        view = look_through(images, self.sensor, self.window)
        mixture, number = self.describe(view, self.inner(images))
        light = (targets.flux - self.mean_intensity) / self.intensity_spread
        density = mixture.log_density(view.inward(targets.place), light)
        of_image = jnp.sum(jnp.where(targets.mask, density, 0.0), axis=-1)
        per_target = of_image / jnp.maximum(targets.count, 1)
        return count_loss(number, targets.count) - jnp.mean(per_target)

    def check_prior(self, prior: ScenePrior) -> None:
        """Raises DistaxError if a prior has targets that are too many, beyond reach or too bright.

        Intensities are learned in units of `intensity_spread` from `mean_intensity`, so those of
        the prior must not be many units away.
        """
        check_countable(prior, self.max_targets, "head_max_targets", self.reach)
        lowest, highest = prior.min_intensity, prior.max_intensity
        farthest = max(abs(end - self.mean_intensity) for end in (lowest, highest))
        if farthest > _FARTHEST * self.intensity_spread:
            middle, width = (lowest + highest) / 2, (highest - lowest) / math.sqrt(12)
            raise DistaxError(
                f"the prior's intensities of {lowest:g} to {highest:g} counts are too far from the "
                f"head's, {self.mean_intensity:g} ± {self.intensity_spread:.3g}; give "
                f"--model.options head_mean_intensity {middle:g} head_intensity_spread {width:.3g}"
            )

    @exact_products
    def detect(self, images: Float[Array, "B height width"]) -> Targets:
        """Reports the positions with the largest expected number of hits, and their uncertainties.

        `score` is the expected share of CSO-mAP's five radii within which a target lies. An image
        with less flux than half of `mean_intensity` has no targets, and a `count_probability` of 1.
        """
        view = look_through(images, self.sensor, self.window)
        mixture, number = self.describe(view, self.inner(images))
        count, certainty = count_targets(images, number, self.sensor, self.mean_intensity)
        mask = jnp.arange(self.max_targets) < count[:, None]
        found = jax.vmap(self._choose)(mixture, mask)
        assert found.covariance is not None
        outward = replace(
            found,
            position=view.outward(found.position),
            covariance=view.outward_covariance(found.covariance),
            count_probability=certainty,
        )
        return clear_padding(outward)

    def _choose(self, mixture: Mixture, mask: Bool[Array, " K"]) -> Targets:
        """Returns the targets of one window as offsets from its middle, highest score first."""
        place, mass = mixture.points(), mixture.point_mass() * jnp.sum(mask)
        position = choose_positions(place, mass, mixture.mean, _CELL, mask)
        share = nearest_mass(place, mass, position, mask)
        weight, away = normalise(share), place - position[:, None]
        light = weight @ mixture.of_points(mixture.intensity)
        apart = mixture.of_points(mixture.intensity) - light[:, None]
        square = jnp.sum(weight * (apart**2 + mixture.of_points(mixture.intensity_std**2)), axis=-1)
        within = density_within(share, place, _CELL, position, distance_grid(self.reach))
        hits, radii = hits_and_radii(jnp.where(mask[:, None], within, 0.0), self.reach)
        found = Targets(
            position=position,
            intensity=self.mean_intensity + self.intensity_spread * light,
            mask=mask,
            score=jnp.mean(hits, axis=-1),
            covariance=jnp.einsum("kn,kni,knj->kij", weight, away, away),
            intensity_std=self.intensity_spread * jnp.sqrt(square),
            hit_probability=hits,
            credible_radius=radii,
        )
        order = jnp.argsort(-found.score)
        return jax.tree.map(lambda leaf: leaf[order], found)
