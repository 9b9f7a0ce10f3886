"""Density network: posterior density of target positions from the window around a blob."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.imaging.targets import Targets, clear_padding
from distax.metrics.decision import choose_positions, nearest_mass
from distax.models.base import Model
from distax.models.density.adjustment import Adjusted, adjust, weigh_pixels
from distax.models.density.counting import check_countable, count_loss, count_targets
from distax.models.density.nodes import Nodes
from distax.models.density.summary import (
    covariances,
    density_within,
    distance_grid,
    gaussian_within,
    hits_and_radii,
)
from distax.models.density.view import look_through, pixel_features
from distax.models.layers.linear import ResidualBlock, linear
from distax.models.registry import register
from distax.runtime.errors import DistaxError, check_positive
from distax.runtime.numerics import exact_products

_TRUSTED_MISFIT = 1.6
_TRUSTED_STRAIN = 2.5
"""If misfit or strain is above its limit, the answer is not trusted. Five in a thousand of the
training's images have larger ones. Lower limits reject more good answers, higher ones trust more
wrong ones."""


@register("density")
class Density(Model):
    """A network that gives the posterior density of target positions on fine nodes around the blob.

    Its outputs are logits of two distributions: a target's position over the nodes, and the number
    of targets. Position times number is the expected number of targets at each node. The nodes are
    much closer than the radii of CSO-mAP. The network is trained by cross-entropy, so its density
    tends to the marginal posterior under the training's scenes. If an
    image has several explanations, the density keeps all of them. `detect` then reports the
    positions with the largest expected number of hits, also between nodes.

    Args:
      max_targets: largest number of targets in an image.
      width: number of features of an image.
      blocks: number of residual blocks.
      window: side in pixels of the network's input window, odd.
      reach: largest offset in pixels along each axis of a reported position from the window's
        middle pixel.
      spacing: distance between neighbouring nodes in pixels.
      mean_intensity: mean in counts of the intensities in the training's scenes. Default:
        CSIST-100K's.
      intensity_spread: standard deviation in counts of these intensities. Default: CSIST-100K's.
      sensor: the sensor.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: a size is not positive; the window is even.
    """

    def __init__(
        self,
        *,
        max_targets: int = 5,
        width: int = 512,
        blocks: int = 4,
        window: int = 7,
        reach: float = 0.6,
        spacing: float = 0.05,
        mean_intensity: float = 235.0,
        intensity_spread: float = 30 / math.sqrt(12),
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        check_positive(
            max_targets=max_targets,
            width=width,
            blocks=blocks,
            window=window,
            reach=reach,
            spacing=spacing,
            mean_intensity=mean_intensity,
            intensity_spread=intensity_spread,
        )
        if window % 2 == 0:
            raise DistaxError(f"window must be odd, got {window}")
        self.max_targets, self.window, self.sensor = max_targets, window, sensor
        self.nodes = Nodes(reach, spacing)
        self.mean_intensity, self.intensity_spread = mean_intensity, intensity_spread
        self.embed = linear(4 * window**2, width, 2.0, rngs)
        self.blocks = nnx.List(ResidualBlock(width, 0.1 / blocks, rngs) for _ in range(blocks))
        self.norm = nnx.RMSNorm(width, rngs=rngs)
        self.place = linear(width, self.nodes.side**2, 0.01, rngs)
        self.number = linear(width, max_targets, 0.01, rngs)

    def __call__(
        self, windows: Float[Array, "B side side"]
    ) -> tuple[Float[Array, "B nodes"], Float[Array, "B numbers"]]:
        """Computes logits of a target's position and of the number of targets, from windows."""
        x = self.embed(pixel_features(windows, self.sensor.clip_level - self.sensor.background))
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.place(x), self.number(x)

    def loss(self, images: Float[Array, "B height width"], targets: Targets) -> Float[Array, ""]:
        """Computes the cross-entropy of the positions, per target, plus that of their number.

        A target between nodes is spread over the four nodes around it. The mean of a sharp density
        is then at the target. The network has no output for zero targets: an image without targets
        is trained as one of a single target, but its positions do not count.
        """
        view = look_through(images, self.sensor, self.window)
        place, number = self(view.window)
        wanted = self.nodes.spread(view.inward(targets.position)).reshape(*targets.mask.shape, -1)
        wanted = jnp.sum(jnp.where(targets.mask[..., None], wanted, 0.0), axis=1)
        of_place = jnp.sum(jax.nn.log_softmax(place) * wanted, axis=-1) / jnp.maximum(
            targets.count, 1
        )
        return count_loss(number, targets.count) - jnp.mean(of_place)

    def check_prior(self, prior: ScenePrior) -> None:
        """Raises DistaxError if a prior has too many targets, or targets beyond the nodes."""
        check_countable(prior, self.max_targets, "max_targets", self.nodes.reach)

    @exact_products
    def detect(self, images: Float[Array, "B height width"]) -> Targets:
        """Reports the positions with the largest expected number of hits, and their uncertainties.

        `score` is the expected share of CSO-mAP's five radii within which a target lies. An image
        with less flux than half a target has no targets, and a `count_probability` of 1. `trusted`
        is False if targets near the reported ones, with intensities like the training's, do not
        explain the image.
        """
        view = look_through(images, self.sensor, self.window)
        place, number = self(view.window)
        count, certainty = count_targets(images, number, self.sensor, self.mean_intensity)
        mask = jnp.arange(self.max_targets) < count[:, None]
        position, share, known = jax.vmap(self._choose)(
            jax.nn.softmax(place) * count[:, None], mask
        )
        middle = float(self.window // 2)
        pixels = weigh_pixels(images, view, self.sensor)
        adjusted = adjust(
            pixels,
            position + middle,
            known,
            mask,
            self.sensor,
            self.mean_intensity,
            self.intensity_spread,
        )
        adjusted = replace(adjusted, position=adjusted.position - middle)
        found = jax.vmap(self._describe)(share, mask, adjusted)
        assert found.covariance is not None
        outward = replace(
            found,
            position=view.outward(found.position),
            covariance=view.outward_covariance(found.covariance),
            count_probability=certainty,
        )
        return clear_padding(outward)

    def _choose(
        self, mass: Float[Array, " nodes"], mask: Bool[Array, " K"]
    ) -> tuple[Float[Array, "K 2"], Float[Array, "K nodes"], Float[Array, "K 2 2"]]:
        """Returns positions in one window, their shares of the density, and their covariances."""
        place, cell = self.nodes.place, self.nodes.spacing
        position = choose_positions(place, mass, self.nodes.candidates, cell, mask)
        share = nearest_mass(place, mass, position, mask)
        return position, share, covariances(share, self.nodes, position)

    def _describe(
        self, share: Float[Array, "K nodes"], mask: Bool[Array, " K"], adjusted: Adjusted
    ) -> Targets:
        """Returns the targets of one window as offsets from its middle, highest score first."""
        distances = distance_grid(self.nodes.reach)
        within = jnp.where(
            adjusted.sharp,
            gaussian_within(adjusted.covariance, distances),
            density_within(
                share, self.nodes.place, self.nodes.spacing, adjusted.position, distances
            ),
        )
        hits, radii = hits_and_radii(jnp.where(mask[:, None], within, 0.0), self.nodes.reach)
        found = Targets(
            position=adjusted.position,
            intensity=adjusted.intensity,
            mask=mask,
            score=jnp.mean(hits, axis=-1),
            covariance=adjusted.covariance,
            intensity_std=adjusted.intensity_std,
            hit_probability=hits,
            credible_radius=radii,
        )
        order = jnp.argsort(-found.score)
        trusted = (adjusted.misfit < _TRUSTED_MISFIT) & (adjusted.strain < _TRUSTED_STRAIN)
        return replace(
            jax.tree.map(lambda leaf: leaf[order], found), misfit=adjusted.misfit, trusted=trusted
        )
