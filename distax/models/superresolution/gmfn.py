"""GMFN: gated multiple feedback network for image super-resolution (Li et al., BMVC 2019)."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.base import GridModel
from distax.models.layers.backprojection import ProjectUp, with_prelu
from distax.models.layers.basic import Affine, Conv, Maps
from distax.models.layers.resampling import upsample
from distax.models.registry import register
from distax.runtime.errors import DistaxError, check_positive

_LAYERS = 8  # of a dense block


class DenseBlock(nnx.Module):
    """Residual dense block: each layer sees the maps of all layers before it.

    A fifth of a 1×1 convolution of all maps is added to the input.
    """

    def __init__(self, channels: int, rngs: nnx.Rngs):
        self.layers = nnx.List(
            with_prelu(Conv(count * channels, channels, rngs=rngs), rngs)
            for count in range(1, _LAYERS + 1)
        )
        self.fuse = Affine((_LAYERS + 1) * channels, channels, rngs=rngs)

    def __call__(self, x: Maps) -> Maps:
        maps = x
        for layer in self.layers:
            maps = jnp.concatenate([maps, layer(maps)], axis=-1)
        return x + 0.2 * self.fuse(maps)


class Feedback(nnx.Module):
    """Gated feedback: the last blocks' maps of a step, selected and merged into the next step."""

    def __init__(self, channels: int, sources: int, rngs: nnx.Rngs):
        self.sources = sources
        self.select = with_prelu(Affine(sources * channels, channels, rngs=rngs), rngs)
        self.merge = with_prelu(Affine(2 * channels, channels, rngs=rngs), rngs)

    def __call__(self, previous: list[Maps], maps: Maps) -> Maps:
        selected = self.select(jnp.concatenate(previous[-self.sources :], axis=-1))
        return self.merge(jnp.concatenate([selected, maps], axis=-1))


@register("gmfn")
class Gmfn(GridModel):
    """GMFN: gated multiple feedback network (Li et al., BMVC 2019).

    The same dense blocks run several times, each time a step. From the second step on, the input of
    the first blocks is merged with the outputs of the step before. Each step corrects the bilinear
    interpolation of the image; the last one is the answer, and the training objective is the mean
    over all steps. The original toolkit trains and reports the first step only, by mistake; its
    published scores are those of `steps=1`, where the feedback has no part.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      channels: number of maps between the blocks, and that each layer of a block adds.
      steps: number of times that the blocks run.
      blocks: number of dense blocks.
      sources: number of blocks, the last ones, whose outputs are fed back.
      refined: number of blocks, the first ones, whose inputs are merged with what is fed back;
        all if there are fewer.
      sensor: the sensor whose images the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, or there are fewer blocks than
        sources.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        channels: int = 32,
        steps: int = 4,
        blocks: int = 8,
        sources: int = 8,
        refined: int = 8,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(
            channels=channels, steps=steps, blocks=blocks, sources=sources, refined=refined
        )
        if sources > blocks:
            raise DistaxError(f"sources must be at most the {blocks} blocks, got {sources}")
        self.steps, self.refined = steps, refined
        self.head = with_prelu(Conv(1, 4 * channels, rngs=rngs), rngs)
        self.features = with_prelu(Affine(4 * channels, channels, rngs=rngs), rngs)
        self.blocks = nnx.List(DenseBlock(channels, rngs) for _ in range(blocks))
        self.feedback = Feedback(channels, sources, rngs)
        self.expand = with_prelu(ProjectUp(channels, channels, factor, rngs=rngs), rngs)
        self.last = Conv(channels, 1, rngs=rngs)

    def answers(
        self, images: Float[Array, "B height width"]
    ) -> list[Float[Array, "B fine_height fine_width"]]:
        """Returns the grids after every step, first to last."""
        start = self.features(self.head(images[..., None]))
        interpolated = upsample(images[..., None], self.factor, "bilinear")
        outputs: list[Maps] = []
        answers = []
        for _ in range(self.steps):
            outputs = self._run_blocks(start, outputs)
            correction = self.last(self.expand(outputs[-1])).astype(images.dtype)
            answers.append((correction + interpolated)[..., 0])
        return answers

    def _run_blocks(self, maps: Maps, previous: list[Maps]) -> list[Maps]:
        """Returns the outputs of all blocks, given those of the step before (none in the first)."""
        outputs = []
        for index, block in enumerate(self.blocks):
            if previous and index < self.refined:
                maps = self.feedback(previous, maps)
            maps = block(maps)
            outputs.append(maps)
        return outputs

    def __call__(
        self, images: Float[Array, "B height width"]
    ) -> Float[Array, "B fine_height fine_width"]:
        return self.answers(images)[-1]

    def objective(
        self,
        images: Float[Array, "B height width"],
        grids: Float[Array, "B fine_height fine_width"],
    ) -> Float[Array, ""]:
        """Returns the mean square error, averaged over the steps."""
        errors = [jnp.mean((answer - grids) ** 2) for answer in self.answers(images)]
        return jnp.mean(jnp.stack(errors))
