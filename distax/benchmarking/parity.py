"""Agreement of DISTA-Net between devices, precisions and libraries, checked before any timing."""

from dataclasses import replace
from typing import get_args

import jax
import numpy as np
from flax import nnx

from distax.benchmarking.networks import Network
from distax.benchmarking.torch_process import TorchProcess
from distax.models.layers.precision import Precision
from distax.runtime.errors import DistaxError
from distax.training.building import create_model

NETWORK = Network(batch=16, stages=2)
"""The network that is compared: of full width, and shallow, so that it compiles in seconds."""
TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2, "PyTorch": 1e-4}
"""Largest differences. In float32, accelerators round factors of products; numbers in bfloat16 have
eight bits; PyTorch adds in another order."""


def check_parity(network: Network = NETWORK) -> dict[str, float]:
    """Compares DISTA-Net on the default device, in both precisions, with float32 on the CPU.

    Returns:
      By precision, the largest difference as a share of the brightest node.

    Raises:
      DistaxError: a difference is larger than rounding.
    """
    host, device = jax.devices("cpu")[0], jax.devices()[0]
    expected = _answer(network, host)
    found = {}
    for precision in get_args(Precision):
        difference = np.abs(_answer(replace(network, precision=precision), device) - expected)
        found[precision] = float(difference.max() / np.abs(expected).max())
        if not found[precision] <= TOLERANCES[precision]:
            raise DistaxError(
                f"DISTA-Net in {precision} on {device.device_kind} differs from the CPU by "
                f"{found[precision]:.1e} of the brightest node; report this with the versions of "
                "JAX and of the driver"
            )
    return found


def check_torch(torch: TorchProcess, network: Network = NETWORK) -> dict[str, float]:
    """Compares grids, objective and gradients with those of PyTorch, on the CPU.

    Returns:
      The largest difference relative to the largest value, under the name "PyTorch".

    Raises:
      DistaxError: it is larger than rounding, or PyTorch failed.
    """
    found = torch.deviation(replace(network, batch=4))
    if not found <= TOLERANCES["PyTorch"]:
        raise DistaxError(
            f"DISTA-Net in PyTorch differs from distax by {found:.1e}; report this with the "
            "versions of both"
        )
    return {"PyTorch": found}


def _answer(network: Network, device: jax.Device) -> np.ndarray:
    graphdef, state = nnx.split(create_model(network.config))
    images, _ = network.simulate()
    arguments = jax.device_put((state, images), device)
    infer = jax.jit(lambda state, images: nnx.merge(graphdef, state)(images))
    return np.asarray(infer(*arguments))
