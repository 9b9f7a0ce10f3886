"""DSCSNet: dynamic sparse compressed sensing network (arXiv 2603.21192)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor
from distax.models.layers.basic import Affine, Conv, Maps, OneMap, cast_like
from distax.models.layers.precision import MapLayer
from distax.models.layers.transforms import TwoConvolutions, soft_threshold
from distax.models.registry import register
from distax.models.unfolding.base import gradient_step
from distax.models.unfolding.dista_stage import StageOutput
from distax.models.unfolding.symmetric import SymmetricModel
from distax.runtime.errors import check_positive

Nodes = Float[Array, "B nodes"]


class AttentiveThreshold(nnx.Module):
    """Threshold of every map at every node, by attention from the maps to what is known of them.

    Channels attend to channels: an attention between the nodes would take the square of their
    number.
    """

    def __init__(self, channels: int, rngs: nnx.Rngs):
        self.base = nnx.Param(jnp.array(0.01, jnp.float32))
        self.queries = Affine(channels, channels, bias=False, rngs=rngs)
        self.keys_values = Affine(channels, 2 * channels, bias=False, rngs=rngs)
        self.temperature = nnx.Param(jnp.ones((), jnp.float32))
        self.out = Affine(channels, channels, rngs=rngs)

    def __call__(self, u: Maps, known: Maps) -> Maps:
        queries = self.queries(u)
        keys, values = jnp.split(self.keys_values(known), 2, axis=-1)
        likeness = jnp.einsum("bhwc,bhwd->bcd", _unit_maps(queries), _unit_maps(keys)) * cast_like(
            self.temperature, u
        )
        attention = jax.nn.softmax(likeness, axis=-1)
        mixed = jnp.einsum("bcd,bhwd->bhwc", attention, values)
        return jax.nn.softplus(self.out(mixed)) * jnp.abs(cast_like(self.base, u))


def _unit_maps(maps: Maps) -> Maps:
    """Scales each map to a sum of squares of 1; sums over whole maps need float32."""
    squares = jnp.sum(jnp.square(maps.astype(jnp.float32)), axis=(1, 2), keepdims=True)
    return maps * jax.lax.rsqrt(squares + 1e-6).astype(maps.dtype)


class Stage(MapLayer):
    """One iteration of ADMM on ½‖Φx − y‖² + θ‖z‖₁ with x = z, scaled multiplier β.

    The auxiliary variable is shrunk and the multiplier follows. Then a gradient step on the
    augmented Lagrangian, a learned transform, dynamic thresholds and the inverse transform
    reconstruct x.

    Args:
      place: number of the stage, from 0; it knows the auxiliary variables of all stages so far.
      channels: number of maps of the transform.
      rngs: keys for the initial parameters.
    """

    def __init__(self, place: int, channels: int, rngs: nnx.Rngs):
        self.step_size = nnx.Param(jnp.array(0.5, jnp.float32))
        self.penalty = nnx.Param(jnp.array(0.1, jnp.float32))
        self.sparsity = nnx.Param(jnp.array(0.1, jnp.float32))
        self.multiplier_rate = nnx.Param(jnp.array(0.5, jnp.float32))
        self.transform = TwoConvolutions(1, channels, channels, rngs)
        self.history = Conv(place + 1, channels, rngs=rngs)
        self.threshold = AttentiveThreshold(channels, rngs)
        self.inverse = TwoConvolutions(channels, channels, 1, rngs)

    def split(self, x: Nodes, beta: Nodes) -> tuple[Nodes, Nodes]:
        """Returns the auxiliary variable z = soft(x + β; θ) and the next multiplier."""
        z = soft_threshold(x + beta, jnp.abs(cast_like(self.sparsity, x)))
        return z, beta + cast_like(self.multiplier_rate, x) * (x - z)

    def reconstruct(
        self,
        x: Nodes,
        y: Float[Array, "B pixels"],
        phi: Float[Array, "pixels nodes"],
        auxiliaries: list[Nodes],
        beta: Nodes,
        shape: tuple[int, int],
    ) -> StageOutput:
        """Returns the next x, with its r and u for the symmetry residual."""
        step_size = cast_like(self.step_size, x)
        pull = cast_like(self.penalty, x) * (x - auxiliaries[-1] + beta)
        r = (gradient_step(x, y, phi, step_size) - step_size * pull).reshape(-1, *shape, 1)
        u = self.transform(self.enter(r))
        known = jnp.stack(auxiliaries, axis=-1).reshape(-1, *shape, len(auxiliaries))
        thresholds = self.threshold(u, self.history(known))
        estimate = self.inverse(soft_threshold(u, thresholds))
        return StageOutput(x=estimate.astype(x.dtype).reshape(x.shape), r=r, u=u)

    def symmetry(self, output: StageOutput) -> OneMap:
        """Returns the symmetry residual G(u) − r of the inverse transform G."""
        return self.inverse(output.u).astype(output.r.dtype) - output.r


@register("dscsnet")
class DscsNet(SymmetricModel):
    """DSCSNet: dynamic sparse compressed sensing network (Tang et al., arXiv 2603.21192).

    No code is published. From the paper's summary are: the unrolled alternating direction method of
    multipliers with its three steps, learned together; the ℓ1 norm in the step of the auxiliary
    variable; thresholds of the reconstruction by self-attention, informed by the auxiliary
    variables of all iterations so far. The rest is an assumption of distax: the order of the steps,
    attention between channels, DISTA-Net's sizes and training objective, and all initial values.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      stages: unrolled iterations, each with its own weights.
      channels: number of maps of the transform.
      symmetry_weight: weight of the symmetry residuals in the training objective.
      sensor: the imaging model; gives the defaults of Φ and of the initial estimator.
      phi: sampling matrix Φ `[pixels, nodes]`. Default: the sensor's.
      q_init: initial estimator Q `[nodes, pixels]`. Default: fitted to simulated scenes.
      rngs: keys for the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, or a matrix has the wrong shape.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        stages: int = 6,
        channels: int = 64,
        symmetry_weight: float = 0.01,
        sensor: Sensor = Sensor(),
        phi: Float[Array, "pixels nodes"] | None = None,
        q_init: Float[Array, "nodes pixels"] | None = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor, phi, q_init)
        check_positive(stages=stages, channels=channels)
        self.symmetry_weight = symmetry_weight
        self.stages = nnx.List(Stage(place, channels, rngs) for place in range(stages))

    def unroll(self, images: Float[Array, "B height width"]) -> list[StageOutput]:
        """Returns every stage's output, first to last."""
        y, x = self.initialise(images)
        beta = jnp.zeros_like(x)
        auxiliaries: list[Nodes] = []
        outputs: list[StageOutput] = []
        for stage in self.stages:
            z, beta = stage.split(x, beta)
            auxiliaries.append(z)
            output = stage.reconstruct(x, y, self.phi[...], auxiliaries, beta, self.shape)
            outputs.append(output)
            x = output.x
        return outputs
