"""Linear layers with initial weights of a given scale, and residual blocks of them."""

import jax
from flax import nnx
from jaxtyping import Array, Float


def linear(inputs: int, outputs: int, scale: float, rngs: nnx.Rngs) -> nnx.Linear:
    """Makes a linear layer whose initial weights have the variance `scale` / `inputs`.

    A scale of 2 keeps the variance through a GELU. A small one makes a residual block start near
    the identity, and an output near zero.
    """
    initial = nnx.initializers.variance_scaling(scale, "fan_in", "normal")
    return nnx.Linear(inputs, outputs, kernel_init=initial, rngs=rngs)


class ResidualBlock(nnx.Module):
    """x + W₂ gelu(W₁ norm(x)): a residual step on the features of each image."""

    def __init__(self, width: int, scale: float, rngs: nnx.Rngs):
        self.norm = nnx.RMSNorm(width, rngs=rngs)
        self.expand = linear(width, width, 2.0, rngs)
        self.contract = linear(width, width, scale, rngs)

    def __call__(self, x: Float[Array, "B width"]) -> Float[Array, "B width"]:
        return x + self.contract(jax.nn.gelu(self.expand(self.norm(x))))
