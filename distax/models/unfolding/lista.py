"""LISTA and its relatives: solvers of sparse problems whose iterations are layers with parameters.

- LISTA (Gregor and LeCun, ICML 2010) learns dense matrices for x ← η(W x + B y) with soft
  thresholding η.
- LIHT (Wang, Ling and Huang, AAAI 2016) is the same with hard thresholding.
- LAMP (Borgerding, Schniter and Rangan, IEEE TSP 2017) is learned approximate message passing.
- TiLISTA (Liu, Chen, Wang and Yin, ICLR 2019) learns one matrix a layer. Its support selection,
  which spares the largest entries from shrinkage, is that of Chen, Liu, Wang and Yin (NeurIPS
  2018).
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor, squared_norm
from distax.models.layers.basic import cast_like
from distax.models.layers.transforms import soft_threshold
from distax.models.registry import register
from distax.models.unfolding.base import UnfoldingModel
from distax.runtime.errors import check_positive

# How far around the threshold hard thresholding rises in what its gradient is taken of, relative
# to the threshold. LIHT trains through such a ramp too (HELU, section 3.2), below it only.
_RAMP = 0.2

# Percent of the nodes that a layer trusts beyond the one before, and at most.
_SELECTED_STEP, _SELECTED_MOST = 1.2, 13.0


class LayeredModel(UnfoldingModel):
    """Layers that each begin as an iteration of a solver. Subclasses define `solver_steps`.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      layers: unrolled iterations.
      sparsity: what the initial thresholds follow from; each model says how.
      sensor: the imaging model; gives Φ and the initial estimator.
      phi: sampling matrix `[pixels, nodes]` in place of the sensor's.
      q_init: initial estimator Q `[nodes, pixels]` in place of the one over simulated scenes.
      rngs: not used: the initial parameters are iterations of the solver.

    Raises:
      DistaxError: an even factor, a size that is not positive, or a matrix of another size.
    """

    def __init__(
        self,
        *,
        factor: int = 3,
        layers: int = 16,
        sparsity: float = 0.4,
        sensor: Sensor = Sensor(),
        phi: Float[Array, "pixels nodes"] | None = None,
        q_init: Float[Array, "nodes pixels"] | None = None,
        rngs: nnx.Rngs,
    ):
        super().__init__(factor, sensor, phi, q_init)
        check_positive(layers=layers, sparsity=sparsity)
        self.layers = nnx.List(self.solver_steps(layers, sparsity))

    @abstractmethod
    def solver_steps(self, layers: int, sparsity: float) -> Iterable[nnx.Module]:
        """The layers with their initial parameters."""


def hard_threshold(
    x: Float[Array, "*batch nodes"], threshold: Float[Array, " nodes"]
) -> Float[Array, "*batch nodes"]:
    """x where |x| > θ, else 0.

    Its gradient is that of a function that rises linearly around θ: a jump gives θ none.
    """
    size = jnp.abs(x)
    kept = jnp.where(size > threshold, x, 0)
    width = 2 * _RAMP * jnp.maximum(jnp.abs(threshold), 1e-3)
    rising = x * jnp.clip((size - threshold) / width + 0.5, 0, 1)
    return rising + jax.lax.stop_gradient(kept - rising)


class DenseLayer(nnx.Module):
    """η(W x + B y) with a threshold for each node; W and B may be given initial values."""

    def __init__(
        self,
        shrink: Callable[[Array, Array], Array],
        recurrent: Float[Array, "nodes nodes"],
        forward: Float[Array, "nodes pixels"],
        threshold: Float[Array, ""],
    ):
        self.shrink = shrink
        self.recurrent, self.forward = nnx.Param(recurrent), nnx.Param(forward)
        self.threshold = nnx.Param(jnp.full(len(recurrent), threshold, jnp.float32))

    def __call__(
        self, x: Float[Array, "B nodes"], y: Float[Array, "B pixels"]
    ) -> Float[Array, "B nodes"]:
        z = x @ cast_like(self.recurrent, x).T + y @ cast_like(self.forward, x).T
        return self.shrink(z, cast_like(self.threshold, x))


@register("lista")
class Lista(LayeredModel):
    """Learned iterative shrinkage-thresholding, every layer with matrices of its own.

    Arguments as of `LayeredModel`; `sparsity` is λ of the lasso problem.
    """

    def solver_steps(self, layers: int, sparsity: float) -> Iterable[DenseLayer]:
        """W = I − QΦ, B = Q and θ = λ/‖Φ‖²."""
        phi, q = self.phi[...], self.q_init[...]
        recurrent, threshold = jnp.eye(self.nodes) - q @ phi, sparsity / squared_norm(phi)
        shrink = _soft_threshold_clamped
        return (DenseLayer(shrink, recurrent, q, threshold) for _ in range(layers))

    def iterates(self, images: Float[Array, "B height width"]) -> list[Float[Array, "B nodes"]]:
        """The estimate after every layer, x₀ = Q y first."""
        y, x = self.initialise(images)
        estimates = [x]
        for layer in self.layers:
            estimates.append(layer(estimates[-1], y))
        return estimates


@register("liht")
class Liht(Lista):
    """Learned iterative hard thresholding: as LISTA, but what passes its threshold stays whole.

    Arguments as of `LayeredModel`; `sparsity` is λ of the ℓ₀ problem.
    """

    def solver_steps(self, layers: int, sparsity: float) -> Iterable[DenseLayer]:
        """W = I, B = Q and θ = √λ."""
        recurrent, threshold = jnp.eye(self.nodes), jnp.sqrt(sparsity)
        forward = self.q_init[...]
        return (DenseLayer(hard_threshold, recurrent, forward, threshold) for _ in range(layers))


def _soft_threshold_clamped(x: Array, threshold: Array) -> Array:
    """Soft thresholding whose learned threshold counts as zero where it is negative."""
    return soft_threshold(x, jax.nn.relu(threshold))


class LampLayer(nnx.Module):
    """One iteration: the residual with its Onsager term, then x ← η(x + B v; λσ)."""

    def __init__(self, backward: Float[Array, "nodes pixels"], sparsity: float):
        self.backward = nnx.Param(backward)
        self.sparsity = nnx.Param(jnp.full(len(backward), sparsity))

    def __call__(
        self,
        x: Float[Array, "B nodes"],
        v: Float[Array, "B pixels"],
        y: Float[Array, "B pixels"],
        phi: Float[Array, "pixels nodes"],
    ) -> tuple[Float[Array, "B nodes"], Float[Array, "B pixels"]]:
        """The next estimate and the residual it was made from."""
        onsager = jnp.count_nonzero(x, axis=1, keepdims=True) / y.shape[1]
        v = y - x @ phi.T + onsager.astype(x.dtype) * v
        noise = jnp.sqrt(jnp.mean(v**2, axis=1, keepdims=True))
        threshold = jax.nn.relu(noise * cast_like(self.sparsity, x))
        return soft_threshold(x + v @ cast_like(self.backward, x).T, threshold), v


@register("lamp")
class Lamp(LayeredModel):
    """Learned approximate message passing with soft thresholding; Φ stays as it is.

    Arguments as of `LayeredModel`; `sparsity` is the initial threshold in standard deviations of
    the residual.
    """

    def solver_steps(self, layers: int, sparsity: float) -> Iterable[LampLayer]:
        """B = Φᵀ/‖Φ‖²."""
        backward = self.phi[...].T / squared_norm(self.phi[...])
        return (LampLayer(backward, sparsity) for _ in range(layers))

    def iterates(self, images: Float[Array, "B height width"]) -> list[Float[Array, "B nodes"]]:
        """The estimate after every layer, x₀ = Q y first."""
        y, x = self.initialise(images)
        estimates, v = [x], jnp.zeros_like(y)
        for layer in self.layers:
            x, v = layer(x, v, y, self.phi[...])
            estimates.append(x)
        return estimates


def shrink_unselected(
    z: Float[Array, "B nodes"], threshold: Float[Array, " nodes"], percent: float
) -> Float[Array, "B nodes"]:
    """Soft thresholding of all but the largest `percent` of each sample's entries beyond θ."""
    size = jnp.abs(z)
    level = jnp.quantile(size.astype(float), 1 - percent / 100, axis=1, keepdims=True)
    selected = (size > threshold) & (size > level)
    return jnp.where(selected, z, soft_threshold(z, threshold))


class TiListaLayer(nnx.Module):
    """One iteration: x ← η(x + α W (y − Φx))."""

    def __init__(self, backward: Float[Array, "nodes pixels"], threshold: Array, percent: float):
        self.percent = percent
        self.backward = nnx.Param(backward)
        self.threshold = nnx.Param(jnp.full(len(backward), threshold, jnp.float32))
        self.step_size = nnx.Param(jnp.ones(()))

    def __call__(
        self,
        x: Float[Array, "B nodes"],
        y: Float[Array, "B pixels"],
        phi: Float[Array, "pixels nodes"],
    ) -> Float[Array, "B nodes"]:
        step = (y - x @ phi.T) @ cast_like(self.backward, x).T
        z = x + cast_like(self.step_size, x) * step
        return shrink_unselected(z, cast_like(self.threshold, x), self.percent)


@register("tilista")
class TiLista(LayeredModel):
    """TiLISTA as this field uses it: a matrix W for each layer, where the paper ties them all.

    Arguments as of `LayeredModel`; `sparsity` is λ of the lasso problem.
    """

    def solver_steps(self, layers: int, sparsity: float) -> Iterable[TiListaLayer]:
        """W = Q and θ = λ/‖Φ‖²; each layer trusts some more nodes than the one before."""
        threshold = sparsity / squared_norm(self.phi[...])
        for layer in range(layers):
            percent = min(_SELECTED_STEP * (layer + 1), _SELECTED_MOST)
            yield TiListaLayer(self.q_init[...], threshold, percent)

    def iterates(self, images: Float[Array, "B height width"]) -> list[Float[Array, "B nodes"]]:
        """The estimate after every layer, x₀ = Q y first."""
        y, x = self.initialise(images)
        estimates = [x]
        for layer in self.layers:
            estimates.append(layer(estimates[-1], y, self.phi[...]))
        return estimates
