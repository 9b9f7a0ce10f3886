"""Discriminators: networks from grids to logits, high for true grids and low for generated ones."""

from abc import abstractmethod

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.models.layers.basic import Affine, BatchNorm, Conv, Maps, OneMap, fan_in_uniform
from distax.models.layers.convolution import convolve
from distax.models.layers.precision import MapLayer
from distax.models.layers.resampling import resize_bilinear, upsample

_LEVELS = 5
"""Largest number of times that a grid is halved, as in BasicSR for 128×128 nodes."""
_HIDDEN = 100
"""Number of features between the last maps and the logit, as in BasicSR."""


def _leaky(maps: Array) -> Array:
    return jax.nn.leaky_relu(maps, 0.2)


class Discriminator(nnx.Module):
    """Network from grids to logits."""

    @abstractmethod
    def __call__(self, grids: OneMap) -> Float[Array, "B *logits"]:
        """Returns one or more logits for every grid."""

    def refresh(self) -> None:
        """Updates what is derived from the weights; called once for each value of the objective.

        The default has nothing to update.
        """


class VggDiscriminator(Discriminator):
    """Discriminator of SRGAN (Ledig et al., CVPR 2017, figure 4): one logit for every grid.

    Each pair of convolutions halves the grid. The second to the fourth pair double the channels.
    Kernels and sizes are those of BasicSR (`VGGStyleDiscriminator`), not of the figure.

    Args:
      shape: rows and columns of the grids. Small grids are halved fewer than five times.
      channels: channels of the first convolution.
      bias: True to add a constant to the logits.
      rngs: keys for the initial parameters.
    """

    def __init__(self, shape: tuple[int, int], channels: int, *, bias: bool, rngs: nnx.Rngs):
        levels = min(_LEVELS, min(shape).bit_length() - 1)
        self.first = Conv(1, channels, rngs=rngs)
        convs, inputs = [], channels
        for level in range(levels):
            outputs = channels * 2 ** min(level, 3)
            if level:
                convs.append(Conv(inputs, outputs, bias=False, rngs=rngs))
            convs.append(Conv(outputs, outputs, 4, stride=2, padding=1, bias=False, rngs=rngs))
            inputs = outputs
        self.convs = nnx.List(convs)
        self.norms = nnx.List(BatchNorm(conv.kernel.shape[-1], rngs=rngs) for conv in convs)
        positions = (shape[0] >> levels) * (shape[1] >> levels)
        self.hidden = Affine(positions * inputs, _HIDDEN, rngs=rngs)
        self.last = Affine(_HIDDEN, 1, bias=bias, rngs=rngs)

    def __call__(self, grids: OneMap) -> Float[Array, "B 1"]:
        maps = _leaky(self.first(grids))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            maps = _leaky(norm(conv(maps)))
        hidden = _leaky(self.hidden(maps.reshape(len(maps), -1)))
        return self.last(hidden).astype(grids.dtype)


class SpectralConv(MapLayer):
    """Convolution without bias whose kernel is divided by its largest singular value.

    Two vectors give an estimate of that value (spectral normalisation, Miyato et al., ICLR 2018).
    Each `refresh` in training mode improves them by one step of the power iteration.
    """

    # Flax's `train` and `eval` set attributes of this name: False in training mode.
    use_running_average = True

    def __init__(self, inputs: int, outputs: int, size: int, stride: int, *, rngs: nnx.Rngs):
        self.stride = stride
        fan_in = size**2 * inputs
        self.kernel = fan_in_uniform(rngs, fan_in, size, size, inputs, outputs)
        self.left = nnx.BatchStat(_unit(jax.random.normal(rngs.params(), (outputs,))))
        self.right = nnx.BatchStat(jnp.zeros(fan_in))
        self._iterate()

    def _matrix(self) -> Float[Array, "outputs fan_in"]:
        kernel = self.kernel[...]
        return kernel.transpose(3, 2, 0, 1).reshape(kernel.shape[-1], -1)

    def _iterate(self) -> None:
        matrix = jax.lax.stop_gradient(self._matrix())
        self.right[...] = _unit(self.left[...] @ matrix)
        self.left[...] = _unit(matrix @ self.right[...])

    def refresh(self) -> None:
        """Improves the estimate of the largest singular value in training mode."""
        if not self.use_running_average:
            self._iterate()

    def __call__(self, maps: Maps) -> Float[Array, "B out_height out_width outputs"]:
        maps = self.enter(maps)
        largest = self.left[...] @ self._matrix() @ self.right[...]
        kernel = (self.kernel[...] / largest).astype(maps.dtype)
        return convolve(maps, kernel, self.stride, 1)


def _unit(vector: Float[Array, " size"]) -> Float[Array, " size"]:
    return vector / jnp.maximum(jnp.linalg.norm(vector), 1e-12)


class UnetDiscriminator(Discriminator):
    """Discriminator of Real-ESRGAN (Wang et al., ICCVW 2021): one logit for every node.

    A U-Net with spectral normalisation halves the grid three times and restores it. The logits have
    no bias, which would cancel in the relativistic objectives that it is trained by.

    Args:
      channels: channels of the first convolution.
      rngs: keys for the initial parameters.
    """

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        pairs = [(channels * 2**level, channels * 2 ** (level + 1)) for level in range(3)]
        self.first = Conv(1, channels, rngs=rngs)
        self.down = nnx.List(SpectralConv(fine, coarse, 4, 2, rngs=rngs) for fine, coarse in pairs)
        self.up = nnx.List(
            SpectralConv(coarse, fine, 3, 1, rngs=rngs) for fine, coarse in reversed(pairs)
        )
        self.refine = nnx.List(SpectralConv(channels, channels, 3, 1, rngs=rngs) for _ in range(2))
        self.last = Conv(channels, 1, bias=False, rngs=rngs)

    def __call__(self, grids: OneMap) -> Float[Array, "B height width"]:
        skips = [_leaky(self.first(grids))]
        for conv in self.down:
            skips.append(_leaky(conv(skips[-1])))
        maps = skips.pop()
        for conv, skip in zip(self.up, reversed(skips), strict=True):
            maps = _leaky(conv(upsample(maps, 2, "bilinear")))
            if maps.shape != skip.shape:  # an odd row or column was dropped on the way down
                maps = resize_bilinear(maps, *skip.shape[1:3])
            maps = maps + skip
        for conv in self.refine:
            maps = _leaky(conv(maps))
        return self.last(maps)[..., 0].astype(grids.dtype)

    def refresh(self) -> None:
        """Improves the estimates of the spectral normalisation in training mode."""
        for conv in (*self.down, *self.up, *self.refine):
            conv.refresh()
