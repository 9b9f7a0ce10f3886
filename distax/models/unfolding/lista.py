"""LISTA and its relatives: networks whose layers are iterations of a sparse solver.

- LISTA (Gregor and LeCun, ICML 2010) learns dense matrices for x ← η(W x + B y) with soft
  thresholding η.
- LIHT (Wang, Ling and Huang, AAAI 2016) is the same with hard thresholding.
- LAMP (Borgerding, Schniter and Rangan, IEEE TSP 2017) is learned approximate message passing.
- TiLISTA (Liu, Chen, Wang and Yin, ICLR 2019) learns one matrix W for all layers; here, as in the
  original toolkit, each layer has its own. Its support selection, which spares the largest entries
  from shrinkage, is that of Chen, Liu, Wang and Yin (NeurIPS 2018).
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from distax.imaging.sensor import Sensor, largest_eigenvalue
from distax.models.keys import LARGEST
from distax.models.layers.basic import cast_like
from distax.models.layers.transforms import soft_threshold
from distax.models.registry import register
from distax.models.unfolding.base import UnfoldingModel
from distax.runtime.errors import check_at_most, check_positive

# Half width of the ramp that replaces the jump of hard thresholding in gradients, relative to the
# threshold. A wider ramp gives more entries a gradient and a narrower one is closer to the jump.
# The LIHT paper also trains through a ramp, but only below the threshold (HELU, its section 3.2).
_RAMP = 0.2

# Support selection: each layer selects this many more percent of the nodes than the layer before,
# up to the second number. More selected nodes mean less bias from shrinkage and less sparsity.
_SELECTED_STEP, _SELECTED_MOST = 1.2, 13.0


class LayeredModel(UnfoldingModel):
    """Base class of models whose layers have the form of solver iterations.

    Subclasses define `iterates` and `solver_steps`, which sets the layers' initial parameters.

    Args:
      factor: grid nodes per pixel along each axis, odd.
      layers: unrolled iterations.
      sparsity: sets the initial thresholds; see each model for the scale.
      sensor: the imaging model; gives the defaults of Φ and of the initial estimator.
      phi: sampling matrix Φ `[pixels, nodes]`. Default: the sensor's.
      q_init: initial estimator Q `[nodes, pixels]`. Default: fitted to simulated scenes.
      rngs: not used; `solver_steps` sets the initial parameters.

    Raises:
      DistaxError: the factor is even, a size is not positive, or a matrix has the wrong shape.
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
        # The layers draw no keys, so no limit on keys stops them.
        check_at_most("in a network", layers=(layers, LARGEST.most))
        self.layers = nnx.List(self.solver_steps(layers, sparsity))

    @abstractmethod
    def solver_steps(self, layers: int, sparsity: float) -> Iterable[nnx.Module]:
        """Returns the layers with their initial parameters."""


def hard_threshold(
    x: Float[Array, "*batch nodes"], threshold: Float[Array, " nodes"]
) -> Float[Array, "*batch nodes"]:
    """Applies hard thresholding: x where |x| > θ, else 0.

    The gradient is that of x times a linear ramp around θ, because the gradient of a jump is zero.
    """
    size = jnp.abs(x)
    kept = jnp.where(size > threshold, x, 0)
    width = 2 * _RAMP * jnp.maximum(jnp.abs(threshold), 1e-3)
    rising = x * jnp.clip((size - threshold) / width + 0.5, 0, 1)
    return rising + jax.lax.stop_gradient(kept - rising)


class DenseLayer(nnx.Module):
    """One iteration: x ← η(W x + B y), with one threshold per node."""

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
    """LISTA: learned iterative shrinkage-thresholding (Gregor and LeCun, ICML 2010).

    Every layer has its own matrices. The arguments are those of `LayeredModel`;
    `sparsity` is λ of the lasso problem.
    """

    def solver_steps(self, layers: int, sparsity: float) -> Iterable[DenseLayer]:
        """Returns layers with W = I − QΦ, B = Q and θ = λ/‖Φ‖²."""
        phi, q = self.phi[...], self.q_init[...]
        recurrent, threshold = jnp.eye(self.nodes) - q @ phi, sparsity / largest_eigenvalue(phi)
        shrink = _soft_threshold_clamped
        return (DenseLayer(shrink, recurrent, q, threshold) for _ in range(layers))

    def iterates(self, images: Float[Array, "B height width"]) -> list[Float[Array, "B nodes"]]:
        """Returns the estimate after every layer, x₀ = Q y first."""
        y, x = self.initialise(images)
        estimates = [x]
        for layer in self.layers:
            estimates.append(layer(estimates[-1], y))
        return estimates


@register("liht")
class Liht(Lista):
    """LIHT: learned iterative hard thresholding (Wang, Ling and Huang, AAAI 2016).

    Unlike in LISTA, entries beyond the threshold keep their value. The arguments are those of
    `LayeredModel`; `sparsity` is λ of the ℓ₀ problem.
    """

    def solver_steps(self, layers: int, sparsity: float) -> Iterable[DenseLayer]:
        """Returns layers with W = I, B = Q and θ = √λ."""
        recurrent, threshold = jnp.eye(self.nodes), jnp.sqrt(sparsity)
        forward = self.q_init[...]
        return (DenseLayer(hard_threshold, recurrent, forward, threshold) for _ in range(layers))


def _soft_threshold_clamped(x: Array, threshold: Array) -> Array:
    """Applies soft thresholding with negative learned thresholds clamped to zero."""
    return soft_threshold(x, jax.nn.relu(threshold))


class LampLayer(nnx.Module):
    """One iteration: v ← y − Φx + (k / pixels) v, then x ← η(x + B v; λσ).

    Here v is the residual and k is the number of nodes of x that are not zero; the term with k is
    the Onsager correction. η thresholds softly at λσ, with the learned λ of each node and the
    root-mean-square σ of the new v.
    """

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
        """Returns the next estimate and its residual."""
        onsager = jnp.count_nonzero(x, axis=1, keepdims=True) / y.shape[1]
        v = y - x @ phi.T + onsager.astype(x.dtype) * v
        noise = jnp.sqrt(jnp.mean(v**2, axis=1, keepdims=True))
        threshold = jax.nn.relu(noise * cast_like(self.sparsity, x))
        return soft_threshold(x + v @ cast_like(self.backward, x).T, threshold), v


@register("lamp")
class Lamp(LayeredModel):
    """LAMP: learned approximate message passing (Borgerding, Schniter and Rangan, IEEE TSP 2017).

    Thresholding is soft, and Φ is not trained. The arguments are those of `LayeredModel`;
    `sparsity` is the initial threshold in standard deviations of the residual.
    """

    def solver_steps(self, layers: int, sparsity: float) -> Iterable[LampLayer]:
        """Returns layers with B = Φᵀ/‖Φ‖²."""
        backward = self.phi[...].T / largest_eigenvalue(self.phi[...])
        return (LampLayer(backward, sparsity) for _ in range(layers))

    def iterates(self, images: Float[Array, "B height width"]) -> list[Float[Array, "B nodes"]]:
        """Returns the estimate after every layer, x₀ = Q y first."""
        y, x = self.initialise(images)
        estimates, v = [x], jnp.zeros_like(y)
        for layer in self.layers:
            x, v = layer(x, v, y, self.phi[...])
            estimates.append(x)
        return estimates


def shrink_unselected(
    z: Float[Array, "B nodes"], threshold: Float[Array, " nodes"], percent: float
) -> Float[Array, "B nodes"]:
    """Applies soft thresholding, except to the largest entries.

    Entries that exceed θ and are among the largest `percent` of their sample are kept unchanged.
    """
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
    """TiLISTA (Liu, Chen, Wang and Yin, ICLR 2019), as the original toolkit configures it.

    Each layer has its own matrix W. The paper shares one among all layers. The arguments are those
    of `LayeredModel`; `sparsity` is λ of the lasso problem.
    """

    def solver_steps(self, layers: int, sparsity: float) -> Iterable[TiListaLayer]:
        """Returns layers with W = Q and θ = λ/‖Φ‖².

        Layer k selects at most 1.2 k percent of the nodes, and no layer more than 13 percent.
        """
        threshold = sparsity / largest_eigenvalue(self.phi[...])
        for layer in range(layers):
            percent = min(_SELECTED_STEP * (layer + 1), _SELECTED_MOST)
            yield TiListaLayer(self.q_init[...], threshold, percent)

    def iterates(self, images: Float[Array, "B height width"]) -> list[Float[Array, "B nodes"]]:
        """Returns the estimate after every layer, x₀ = Q y first."""
        y, x = self.initialise(images)
        estimates = [x]
        for layer in self.layers:
            estimates.append(layer(estimates[-1], y, self.phi[...]))
        return estimates
