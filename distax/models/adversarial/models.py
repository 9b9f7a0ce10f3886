"""SRGAN, ESRGAN and BSRGAN, each a generator with the discriminator that it is trained against."""

from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.adversarial.discriminators import (
    Discriminator,
    UnetDiscriminator,
    VggDiscriminator,
)
from distax.models.adversarial.generators import DenseGenerator, ResidualGenerator
from distax.models.adversarial.objectives import PLAIN, RELATIVISTIC, Game
from distax.models.base import GridModel
from distax.models.registry import register
from distax.runtime.errors import check_not_negative, check_positive

Grids = Float[Array, "B fine_height fine_width"]
Perceptual = Callable[[Grids], Array]
"""Function from grids to features of any shape. It has no parameters to train."""


class AdversarialModel(GridModel):
    """A generator that is trained against a discriminator. Subclasses create both.

    The two players have an objective each, and training minimises the sum. The generator's
    objective is computed with a copy of the discriminator that has no gradients. The
    discriminator's is computed from generated grids without gradients. So the gradient of each
    player's parameters is that of its own objective. In a relativistic game a judgement depends on
    the whole batch, so the objective is no mean over images. The discriminator's `nnx.BatchStat`s
    make training compute it for whole batches, as for models with batch normalisation.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      sensor: the sensor whose images the model takes.
      pixel_weight: weight of the error of the grids in the generator's objective.
      squared: True for the grids' mean square error, as in SRGAN's paper; False for their mean
        absolute error, as in the original toolkit. Most nodes are empty, so the absolute error
        alone favours empty grids.
      adversarial_weight: weight of the discriminator's judgement in the generator's objective; 0
        leaves the discriminator out.
      perceptual: function from grids to features, whose mean absolute difference is added to the
        generator's objective; None for no such term.

    Raises:
      DistaxError: the factor is even, or a weight is negative.
    """

    game: ClassVar[Game] = RELATIVISTIC
    generator: Callable[[Array], Array]
    discriminator: Discriminator | None

    def __init__(
        self,
        factor: int,
        sensor: Sensor,
        pixel_weight: float,
        squared: bool,
        adversarial_weight: float,
        perceptual: Perceptual | None,
    ):
        super().__init__(factor, sensor)
        check_not_negative(pixel_weight=pixel_weight, adversarial_weight=adversarial_weight)
        self.pixel_weight, self.adversarial_weight = pixel_weight, adversarial_weight
        self.squared = squared
        self.perceptual = perceptual

    def _create_discriminator(self, channels: int, rngs: nnx.Rngs) -> Discriminator | None:
        return self._judge(channels, rngs) if self.adversarial_weight else None

    def _judge(self, channels: int, rngs: nnx.Rngs) -> Discriminator:
        """Creates the discriminator, in a relativistic game without a bias, which would cancel."""
        shape = self.factor * self.sensor.height, self.factor * self.sensor.width
        return VggDiscriminator(shape, channels, bias=self.game is PLAIN, rngs=rngs)

    def __call__(self, images: Float[Array, "B height width"]) -> Grids:
        return self.generator(images[..., None])[..., 0]

    def objective(self, images: Float[Array, "B height width"], grids: Grids) -> Float[Array, ""]:
        """Returns the sum of both players' objectives."""
        found = self(images)
        error = found - grids
        value = self.pixel_weight * jnp.mean(error**2 if self.squared else jnp.abs(error))
        if self.perceptual is not None:
            value += jnp.mean(jnp.abs(self.perceptual(found) - self.perceptual(grids)))
        if self.discriminator is None:
            return value
        self.discriminator.refresh()
        judgement = _without_gradients(self.discriminator)
        true, generated = grids[..., None], found[..., None]
        value += self.adversarial_weight * self.game.generator(
            judgement(true), judgement(generated)
        )
        generated = jax.lax.stop_gradient(generated)
        return value + self.game.discriminator(
            self.discriminator(true), self.discriminator(generated)
        )


def _without_gradients(discriminator: Discriminator) -> Discriminator:
    """Copies a discriminator. The copy has no gradients, and its own running statistics."""
    graphdef, state = nnx.split(discriminator)
    return nnx.merge(graphdef, jax.tree.map(jax.lax.stop_gradient, state), copy=True)


@register("srgan")
class Srgan(AdversarialModel):
    """SRGAN: generative adversarial network (Ledig et al., CVPR 2017).

    The generator has no normalisation (MSRResNet), like that of SeqCSIST's table (arXiv
    2507.09556). In the paper the generator's objective has a third term: it compares features from
    a VGG network trained on photographs. The weights of that network do not come with distax;
    `perceptual` takes a function that computes such features.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      channels: number of maps of the generator.
      blocks: number of residual blocks of the generator.
      discriminator_channels: channels of the discriminator's first convolution.
      pixel_weight: weight of the error of the grids in the generator's objective.
      squared: True for the grids' mean square error, as in SRGAN's paper; False for their mean
        absolute error, as in the original toolkit. Most nodes are empty, so the absolute error
        alone favours empty grids.
      adversarial_weight: weight of the discriminator's judgement in the generator's objective; 0
        leaves the discriminator out.
      perceptual: function from grids to features, without parameters to train. The mean absolute
        difference of the features is added to the generator's objective. Default: no such term.
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, or a weight is negative.
    """

    game = PLAIN

    def __init__(
        self,
        *,
        factor: int = 3,
        channels: int = 64,
        blocks: int = 16,
        discriminator_channels: int = 64,
        pixel_weight: float = 0.01,
        squared: bool = True,
        adversarial_weight: float = 0.005,
        perceptual: Perceptual | None = None,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor, pixel_weight, squared, adversarial_weight, perceptual)
        check_positive(
            channels=channels, blocks=blocks, discriminator_channels=discriminator_channels
        )
        self.generator = ResidualGenerator(channels, blocks, factor, rngs=rngs)
        self.discriminator = self._create_discriminator(discriminator_channels, rngs)


@register("esrgan")
class Esrgan(AdversarialModel):
    """ESRGAN: enhanced SRGAN (Wang et al., ECCV Workshops 2018).

    The generator has residual-in-residual dense blocks (RRDB). The discriminator judges whether a
    true grid is truer than the generated ones on average, and whether a generated grid is less true
    than the true ones. The pixels are repeated on the nodes in one step, as the table of SeqCSIST
    (arXiv 2507.09556) implies. For the perceptual term see `Srgan`.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      channels: number of maps of the generator.
      growth: number of maps that each layer of a dense block adds.
      blocks: number of residual-in-residual blocks of the generator. Default: 23 for ESRGAN, 16
        for BSRGAN.
      discriminator_channels: channels of the discriminator's first convolution.
      pixel_weight: weight of the error of the grids in the generator's objective.
      squared: True for the grids' mean square error, as in SRGAN's paper; False for their mean
        absolute error, as in the original toolkit. Most nodes are empty, so the absolute error
        alone favours empty grids.
      adversarial_weight: weight of the discriminator's judgement in the generator's objective; 0
        leaves the discriminator out.
      perceptual: function from grids to features, without parameters to train. The mean absolute
        difference of the features is added to the generator's objective. Default: no such term.
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, or a weight is negative.
    """

    usual_blocks: ClassVar[int] = 23

    def __init__(
        self,
        *,
        factor: int = 3,
        channels: int = 64,
        growth: int = 32,
        blocks: int | None = None,
        discriminator_channels: int = 64,
        pixel_weight: float = 0.01,
        squared: bool = True,
        adversarial_weight: float = 0.005,
        perceptual: Perceptual | None = None,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor, pixel_weight, squared, adversarial_weight, perceptual)
        blocks = self.usual_blocks if blocks is None else blocks
        check_positive(
            channels=channels,
            growth=growth,
            blocks=blocks,
            discriminator_channels=discriminator_channels,
        )
        self.generator = DenseGenerator(channels, growth, blocks, factor, rngs=rngs)
        self.discriminator = self._create_discriminator(discriminator_channels, rngs)


@register("bsrgan")
class Bsrgan(Esrgan):
    """BSRGAN: ESRGAN with fewer blocks and a U-Net discriminator (Zhang et al., ICCV 2021).

    The paper degrades photographs to make its training images; here the sensor takes them. The
    discriminator is that of Real-ESRGAN, as in the table of SeqCSIST (arXiv 2507.09556), and judges
    every node. The options are those of `Esrgan`.
    """

    usual_blocks = 16

    def _judge(self, channels: int, rngs: nnx.Rngs) -> Discriminator:
        return UnetDiscriminator(channels, rngs=rngs)
