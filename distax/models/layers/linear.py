"""Linear layers with initial weights of a given scale."""

from flax import nnx


def linear(inputs: int, outputs: int, scale: float, rngs: nnx.Rngs) -> nnx.Linear:
    """Makes a linear layer whose initial weights have the variance `scale` / `inputs`.

    A scale of 2 keeps the variance through a GELU. A small one makes a residual block start near
    the identity, and an output near zero.
    """
    initial = nnx.initializers.variance_scaling(scale, "fan_in", "normal")
    return nnx.Linear(inputs, outputs, kernel_init=initial, rngs=rngs)
