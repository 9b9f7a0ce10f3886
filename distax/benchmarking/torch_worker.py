"""PyTorch's process: answers requests, one line of JSON each, about the network in PyTorch.

`distax.benchmarking.torch_process` starts it. The weights and the images are those of distax, made
by JAX on the CPU.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import numpy as np
import torch
from flax import nnx

from distax.benchmarking.networks import Network
from distax.benchmarking.torch_dista import TorchDista
from distax.imaging.grid import rasterize
from distax.models import Dista
from distax.runtime.errors import first_line
from distax.training.building import create_model


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Answers a request: a comparison with JAX, or one call of inference or training.

    Args:
      request: `what` ("parity", "inference" or "training"), `network` (the arguments of `Network`)
        and `compiled` (True for `torch.compile`).

    Returns:
      The deviation, or the time in seconds and the largest memory in bytes.
    """
    network = Network(**request["network"])
    if request["what"] == "parity":
        return {"deviation": deviation(network)}
    call = _prepare(request["what"], network, request["compiled"])
    start = time.perf_counter()
    call()
    seconds = time.perf_counter() - start
    memory = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    return {"seconds": seconds, "peak_memory": memory}


def deviation(network: Network) -> float:
    """Compares grids, objective and gradients in PyTorch with those in JAX, on the CPU.

    Returns:
      The largest difference of each, relative to its largest value; the largest of the three.
    """
    model = create_model(network.config)
    assert isinstance(model, Dista)
    images, targets = network.simulate()
    grids = rasterize(targets, network.config.sensor, model.factor)
    twin = TorchDista(model)
    inputs, labels = (torch.tensor(np.asarray(array)) for array in (images, grids))
    value, gradients = nnx.value_and_grad(lambda model: model.objective(images, grids))(model)
    their_value = twin.objective(inputs, labels)
    their_value.backward()
    pairs = [
        (np.asarray(model(images)), twin(inputs).detach().numpy()),
        (np.asarray(value), their_value.detach().numpy()),
    ]
    for stage, theirs in zip(gradients["stages"].values(), twin.stages, strict=True):
        for part, name in (("static_transform", "second"), ("inverse", "first")):
            ours = np.asarray(stage[part][name][...]).transpose(3, 2, 0, 1)
            pairs.append((ours, theirs[f"{part}.{name}"].grad.numpy()))
    return max(float(np.abs(theirs - ours).max() / np.abs(ours).max()) for ours, theirs in pairs)


@lru_cache(maxsize=2)  # eager and compiled, not those of earlier requests
def _prepare(what: str, network: Network, compiled: bool) -> Callable[[], None]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = create_model(network.config)
    assert isinstance(model, Dista)
    images, targets = network.simulate()
    grids = rasterize(targets, network.config.sensor, model.factor)
    inputs, labels = (torch.tensor(np.asarray(array), device=device) for array in (images, grids))
    twin = TorchDista(model).to(device)
    if what == "inference":
        forward = torch.compile(twin) if compiled else twin

        def infer() -> None:
            with torch.inference_mode():
                forward(inputs).sum().item()

        return infer

    optimizer = torch.optim.Adam(twin.parameters(), lr=network.config.optimizer.learning_rate)
    objective = torch.compile(twin.objective) if compiled else twin.objective

    def train() -> None:
        optimizer.zero_grad()
        loss = objective(inputs, labels)
        loss.backward()
        optimizer.step()
        loss.item()

    return train


def main() -> None:
    """Answers the requests of standard input until it ends."""
    # What PyTorch and its compilers print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    jax.config.update("jax_platforms", "cpu")
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Exception as error:  # the other process reports it, whatever it is
            reply = {"error": f"{type(error).__name__}: {first_line(error)}"}
        print(json.dumps(reply), file=answers, flush=True)


if __name__ == "__main__":
    main()
