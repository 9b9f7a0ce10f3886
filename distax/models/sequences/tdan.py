"""TDAN (Tian et al., CVPR 2020), in the form of SeqCSIST's toolkit (arXiv 2507.09556)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.layers.basic import Conv, Maps, check_multiple
from distax.models.layers.deformable import DeformConv
from distax.models.layers.resampling import SubPixel
from distax.models.layers.residual import ResidualBlock
from distax.models.registry import register
from distax.models.sequences.base import SequenceModel
from distax.runtime.errors import check_not_negative, check_positive

_SHIFTS = (-2, -1, 1, 2)
"""Neighbours of a frame, by their distance in frames."""


class Features(nnx.Module):
    """Convolution, ReLU and residual blocks."""

    def __init__(self, inputs: int, channels: int, blocks: int, *, rngs: nnx.Rngs):
        self.first = Conv(inputs, channels, rngs=rngs)
        self.blocks = nnx.List(ResidualBlock(channels, rngs=rngs) for _ in range(blocks))

    def __call__(self, maps: Maps) -> Float[Array, "B height width outputs"]:
        maps = jax.nn.relu(self.first(maps))
        for block in self.blocks:
            maps = block(maps)
        return maps


class PairAlignment(nnx.Module):
    """Alignment of a neighbour's features with a frame's, by offsets computed from both."""

    def __init__(self, channels: int, groups: int, *, rngs: nnx.Rngs):
        def deform() -> DeformConv:
            return DeformConv(channels, channels, groups=groups, rngs=rngs)

        self.merge = Conv(2 * channels, channels, rngs=rngs)
        self.refine = nnx.List([deform(), deform()])
        self.first = deform()
        self.second = deform()
        self.last = Conv(channels, 1, rngs=rngs)

    def guide(self, frame: Maps, neighbour: Maps) -> Maps:
        """Returns the maps that the neighbour's first offsets are computed from."""
        maps = self.merge(jnp.concatenate([frame, neighbour], axis=-1))
        for layer in self.refine:
            maps = layer(maps)
        return maps

    def __call__(self, frame: Maps, neighbour: Maps) -> Float[Array, "B height width 1"]:
        return self.last(self.second(self.first(neighbour, self.guide(frame, neighbour))))


@register("tdan")
class Tdan(SequenceModel):
    """TDAN (Tian et al., CVPR 2020), in the form of SeqCSIST's toolkit (arXiv 2507.09556).

    Features of the two frames before a frame and of the two after it are aligned with the frame by
    deformable convolutions on the sensor's pixels. A residual network makes the answer from the
    four aligned frames and the frame itself. The published code puts the sequence's middle frame in
    the place of the frame itself, for every answer; the option `middle_frame` does the same. By
    mistake, the published training doubles the objective, which makes no difference to Adam.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      channels: number of maps.
      groups: parts of the channels with offsets of their own in deformable convolutions.
      blocks: residual blocks before the alignment.
      tail_blocks: residual blocks after the alignment.
      alignment_weight: weight in the training objective of the square distance of the aligned
        frames from the frame itself.
      middle_frame: True for the published code's window, in which the middle frame of the sequence
        stands for the frame that is answered.
      sensor: the sensor whose frames the model takes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, the channels are not a multiple of
        the groups, or the weight is negative.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        channels: int = 32,
        groups: int = 8,
        blocks: int = 5,
        tail_blocks: int = 10,
        alignment_weight: float = 0.01,
        middle_frame: bool = False,
        sensor: Sensor = Sensor(),
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        sizes = {"channels": channels, "groups": groups}
        check_positive(**sizes, blocks=blocks, tail_blocks=tail_blocks)
        check_multiple(groups, channels=channels)
        check_not_negative(alignment_weight=alignment_weight)
        self.alignment_weight, self.middle_frame = alignment_weight, middle_frame
        self.features = Features(1, channels, blocks, rngs=rngs)
        self.alignment = PairAlignment(channels, groups, rngs=rngs)
        self.reconstruction = Features(len(_SHIFTS) + 1, channels, tail_blocks, rngs=rngs)
        self.upscale = SubPixel(channels, channels, factor, rngs=rngs)
        self.last = Conv(channels, 1, bias=False, rngs=rngs)

    def align(
        self, images: Float[Array, "B frames height width"]
    ) -> Float[Array, "B answered 5 height width"]:
        """Returns the five frames that each answer is made from, earliest first."""
        flat = images.reshape(-1, *self.sensor.shape, 1)
        features = self.features(flat).reshape(*images.shape, -1)
        beside = jnp.stack([self.neighbours(features, shift) for shift in _SHIFTS], axis=2)
        frame = jnp.broadcast_to(self.answers(features)[:, :, None], beside.shape)
        pair = (maps.reshape(-1, *beside.shape[3:]) for maps in (frame, beside))
        aligned = self.alignment(*pair).astype(images.dtype).reshape(beside.shape[:-1])
        own = self.answers(images)
        if self.middle_frame:
            own = jnp.broadcast_to(images[:, images.shape[1] // 2, None], own.shape)
        half = len(_SHIFTS) // 2
        return jnp.concatenate([aligned[:, :, :half], own[:, :, None], aligned[:, :, half:]], 2)

    def _reconstruct(
        self, aligned: Float[Array, "B answered 5 height width"]
    ) -> Float[Array, "B answered fine_height fine_width"]:
        maps = jnp.moveaxis(aligned, 2, -1).reshape(-1, *self.sensor.shape, aligned.shape[2])
        fine = self.last(self.upscale(self.reconstruction(maps)))[..., 0]
        return fine.astype(aligned.dtype).reshape(*aligned.shape[:2], *fine.shape[1:])

    def __call__(
        self, images: Float[Array, "B frames height width"]
    ) -> Float[Array, "B answered fine_height fine_width"]:
        return self._reconstruct(self.align(images))

    def loss_terms(
        self,
        images: Float[Array, "B frames height width"],
        grids: Float[Array, "B frames fine_height fine_width"],
    ) -> dict[str, Float[Array, ""]]:
        """Returns the weighted terms of the objective, each a mean over sequences.

        As published, each term of a sequence is a sum over its answered frames. "regression" sums
        the mean square error. "alignment" sums the mean square difference of the five frames of
        `align` from the frame itself.
        """
        aligned = self.align(images)
        output = self._reconstruct(aligned)
        errors = jnp.mean((output - self.answers(grids)) ** 2, axis=(2, 3))
        distances = (aligned - self.answers(images)[:, :, None]) ** 2
        return {
            "regression": jnp.sum(errors) / len(images),
            "alignment": self.alignment_weight
            * jnp.sum(jnp.mean(distances, axis=(2, 3, 4)))
            / len(images),
        }

    def objective(
        self,
        images: Float[Array, "B frames height width"],
        grids: Float[Array, "B frames fine_height fine_width"],
    ) -> Float[Array, ""]:
        """Returns the sum of the loss terms."""
        return jnp.asarray(sum(self.loss_terms(images, grids).values()))
