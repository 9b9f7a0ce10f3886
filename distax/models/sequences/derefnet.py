"""DeRefNet (Zhai et al., IEEE TGRS 2025, arXiv 2507.09556)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.layers.basic import Affine, Conv, Maps, check_multiple, fan_in_uniform
from distax.models.layers.deformable import DeformConv
from distax.models.layers.residual import ResidualBlock
from distax.models.registry import register
from distax.models.sequences.base import SequenceModel
from distax.models.unfolding.ista_net import IstaNet
from distax.runtime.errors import check_not_negative, check_positive
from distax.runtime.pytree import pytree

SHIFTS = (-2, -1, 1, 2)
"""Neighbours of a frame, by their distance in frames."""
_LENGTH = 20
"""Length of SeqCSIST's sequences: the gate's unit of time for sequences of any length."""


class Gate(nnx.Module):
    """Weights between 0 and 1 of a frame's nodes, by its time in the sequence and not its content.

    The original multiplies a matrix by a vector whose entries are all t/20. Only the sums of the
    matrix's rows matter, so they are the parameters here.
    """

    def __init__(self, nodes: int, *, rngs: nnx.Rngs):
        self.slope = fan_in_uniform(rngs, 1, nodes)
        self.offset = fan_in_uniform(rngs, nodes, nodes)

    def __call__(self, frames: int) -> Float[Array, "{frames} nodes"]:
        """Returns the weights of the nodes in each frame.

        Args:
          frames: number of frames of the sequence.
        """
        time = jnp.arange(frames) / _LENGTH
        return jax.nn.sigmoid(time[:, None] * self.slope[...] + self.offset[...])


class PairAttention(nnx.Module):
    """Attention over a pair of frames: at every node each frame's maps have a weight."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.of_frame = Affine(channels, channels // 2, rngs=rngs)
        self.of_neighbour = Affine(channels, channels // 2, rngs=rngs)
        self.squeeze = Conv(2, 2, rngs=rngs)

    def __call__(self, frame: Maps, neighbour: Maps) -> Maps:
        pair = self.of_frame(frame), self.of_neighbour(neighbour)
        both = jnp.concatenate(pair, axis=-1)
        summary = jnp.stack([jnp.mean(both, axis=-1), jnp.max(both, axis=-1)], axis=-1)
        weights = jax.nn.sigmoid(self.squeeze(summary))
        weighted = [maps * weights[..., index, None] for index, maps in enumerate(pair)]
        return jnp.concatenate(weighted, axis=-1)


class Alignment(nnx.Module):
    """Alignment of a neighbour's estimate with a frame's by two deformable convolutions."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.features = Conv(1, channels, rngs=rngs)
        self.attention = PairAttention(channels, rngs=rngs)
        self.first = DeformConv(channels, channels, rngs=rngs)
        self.second = DeformConv(channels, channels, rngs=rngs)
        self.last = Conv(channels, 1, rngs=rngs)

    def extract(self, maps: Float[Array, "B frames height width"]) -> Array:
        """Returns the features of every frame."""
        flat = maps.reshape(-1, *maps.shape[2:], 1)
        features = jax.nn.relu(self.features(flat))
        return features.reshape(*maps.shape, -1)

    def __call__(self, frame: Maps, neighbour: Maps) -> Float[Array, "B height width 1"]:
        """Returns the aligned estimate from the features of a frame and of its neighbour."""
        return self.last(self.second(self.first(neighbour, self.attention(frame, neighbour))))


class Reconstruction(nnx.Module):
    """Network from a frame's estimate and its four aligned neighbours to the answer."""

    def __init__(self, channels: int, blocks: int, *, rngs: nnx.Rngs):
        self.first = Conv(len(SHIFTS) + 1, channels, rngs=rngs)
        self.blocks = nnx.List(ResidualBlock(channels, rngs=rngs) for _ in range(blocks))
        self.last = Conv(channels, 1, bias=False, rngs=rngs)

    def __call__(self, aligned: Maps) -> Float[Array, "B height width 1"]:
        maps = jax.nn.relu(self.first(aligned))
        for block in self.blocks:
            maps = block(maps)
        return self.last(maps)


@pytree
class Steps:
    """Results of DeRefNet's steps.

    Attributes:
      output: the answers.
      aligned: the five maps that each answer is made from, earliest frame first.
      single: every frame's own estimate, before the gate.
      asymmetries: the error of inverting each stage's transform, for all frames of all sequences.
    """

    output: Float[Array, "B answered fine_height fine_width"]
    aligned: Float[Array, "B answered 5 fine_height fine_width"]
    single: Float[Array, "B frames fine_height fine_width"]
    asymmetries: list[Float[Array, "all fine_height fine_width 1"]]


@register("derefnet")
class DeRefNet(SequenceModel):
    """DeRefNet (Zhai et al., IEEE TGRS 2025, arXiv 2507.09556).

    An ISTA-Net unmixes every frame alone. A gate weights these estimates by time. The estimates of
    the two frames before a frame and of the two after it are aligned with the frame's own by
    deformable convolutions. A residual network makes the answer from all five. By mistake, the
    published training doubles the objective. Adam's steps do not depend on such a factor, so there
    is no option for it.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      stages: unrolled iterations of the ISTA-Net.
      transform_channels: number of maps of its transform.
      channels: number of maps in the alignment and the reconstruction, even.
      blocks: residual blocks of the reconstruction.
      symmetry_weight: weight of the symmetry terms in the training objective.
      alignment_weight: weight in the training objective of the distance of the aligned neighbours
        from the frame's own estimate.
      sensor: the sensor whose frames the model takes; gives the defaults of Φ and of the initial
        estimator.
      phi: sampling matrix Φ `[pixels, nodes]`. Default: the sensor's.
      q_init: initial estimator Q `[nodes, pixels]`. Default: fitted to simulated scenes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, the channels are odd, a weight is
        negative, or a matrix has the wrong shape.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        stages: int = 9,
        transform_channels: int = 32,
        channels: int = 32,
        blocks: int = 5,
        symmetry_weight: float = 0.1,
        alignment_weight: float = 0.1,
        sensor: Sensor = Sensor(),
        phi: Float[Array, "pixels nodes"] | None = None,
        q_init: Float[Array, "nodes pixels"] | None = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor)
        check_positive(channels=channels, blocks=blocks)
        check_multiple(2, channels=channels)
        check_not_negative(symmetry_weight=symmetry_weight, alignment_weight=alignment_weight)
        self.symmetry_weight, self.alignment_weight = symmetry_weight, alignment_weight
        self.single = IstaNet(
            factor=factor,
            stages=stages,
            channels=transform_channels,
            sensor=sensor,
            phi=phi,
            q_init=q_init,
            rngs=rngs,
        )
        self.gate = Gate(self.single.nodes, rngs=rngs)
        self.alignment = Alignment(channels, rngs=rngs)
        self.reconstruction = Reconstruction(channels, blocks, rngs=rngs)

    def run(self, images: Float[Array, "B frames height width"]) -> Steps:
        """Computes the answers, and keeps the results of the steps before them."""
        batch, frames = images.shape[:2]
        estimates, asymmetries = self.single.unroll(images.reshape(-1, *self.sensor.shape))
        single = estimates[-1].reshape(batch, frames, *self.single.shape)
        gated = single * self.gate(frames).reshape(frames, *self.single.shape)
        aligned = self._align(gated)
        flat = jnp.moveaxis(aligned, 2, -1).reshape(-1, *self.single.shape, aligned.shape[2])
        output = self.reconstruction(flat).reshape(batch, -1, *self.single.shape)
        return Steps(
            output=output.astype(images.dtype),
            aligned=aligned,
            single=single,
            asymmetries=asymmetries,
        )

    def _align(
        self, gated: Float[Array, "B frames fine_height fine_width"]
    ) -> Float[Array, "B answered 5 fine_height fine_width"]:
        """Returns each answered frame's estimate and its aligned neighbours, earliest first."""
        features = self.alignment.extract(gated)
        beside = jnp.stack([self.neighbours(features, shift) for shift in SHIFTS], axis=2)
        frame = jnp.broadcast_to(self.answers(features)[:, :, None], beside.shape)
        pair = (maps.reshape(-1, *beside.shape[3:]) for maps in (frame, beside))
        aligned = self.alignment(*pair).astype(gated.dtype).reshape(beside.shape[:-1])
        half = len(SHIFTS) // 2
        own = self.answers(gated)[:, :, None]
        return jnp.concatenate([aligned[:, :, :half], own, aligned[:, :, half:]], axis=2)

    def __call__(
        self, images: Float[Array, "B frames height width"]
    ) -> Float[Array, "B answered fine_height fine_width"]:
        return self.run(images).output

    def loss_terms(
        self,
        images: Float[Array, "B frames height width"],
        grids: Float[Array, "B frames fine_height fine_width"],
    ) -> dict[str, Float[Array, ""]]:
        """Returns the weighted terms of the objective, each a mean over sequences.

        As published, each term of a sequence is a sum. "regression" sums the mean square error over
        the answered frames. "alignment" sums the absolute difference from the frame's own estimate
        over all aligned neighbours and their nodes. "symmetry" sums the mean square asymmetry over
        the stages.
        """
        steps, batch = self.run(images), len(images)
        errors = jnp.mean((steps.output - self.answers(grids)) ** 2, axis=(2, 3))
        half = len(SHIFTS) // 2
        beside = jnp.delete(steps.aligned, half, axis=2)
        distances = jnp.abs(beside - self.answers(steps.single)[:, :, None])
        symmetry = sum(jnp.mean(asymmetry**2) for asymmetry in steps.asymmetries)
        return {
            "regression": jnp.sum(errors) / batch,
            "alignment": self.alignment_weight * jnp.sum(distances) / batch,
            "symmetry": self.symmetry_weight * jnp.asarray(symmetry),
        }

    def objective(
        self,
        images: Float[Array, "B frames height width"],
        grids: Float[Array, "B frames fine_height fine_width"],
    ) -> Float[Array, ""]:
        """Returns the sum of the loss terms."""
        return jnp.asarray(sum(self.loss_terms(images, grids).values()))
