"""DISTA-Net's inference and training on the default device, ready to be timed."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from distax.benchmarking.timing import Candidate, jax_candidate
from distax.imaging.scenes import simulate
from distax.imaging.targets import Targets
from distax.models import Dista
from distax.models.layers.precision import Precision
from distax.models.window import Windowed
from distax.runtime.batching import inference_batch, padded_batches
from distax.runtime.platforms import default_platform
from distax.runtime.sharding import data_mesh
from distax.training.building import abstract_model, create_model
from distax.training.config import ModelConfig, TrainConfig
from distax.training.setup import build
from distax.training.steps import lower_train_steps

WINDOW = 7
"""Side in pixels of the window that a windowed network sees."""


@dataclass(frozen=True)
class Network:
    """A DISTA-Net, and a batch of simulated images.

    Attributes:
      batch: number of images.
      precision: precision of the maps, "float32" or "bfloat16".
      window: side of the window in pixels; None for whole images.
      stages, channels: size of the network.
    """

    batch: int = 64
    precision: Precision = "float32"
    window: int | None = None
    stages: int = 6
    channels: int = 64

    @cached_property
    def config(self) -> TrainConfig:
        """The network's configuration for training, with Adam."""
        options: dict[str, Any] = {"stages": self.stages, "channels": self.channels}
        if self.window is not None:
            options["window"] = self.window
        return TrainConfig(
            model=ModelConfig(options=options), precision=self.precision, batch_size=self.batch
        )

    def simulate(self) -> tuple[Float[Array, "B height width"], Targets]:
        """Simulates the images and their targets."""
        return simulate(jax.random.key(1), self.batch, self.config.sensor, self.config.prior)

    def count_flops(self, training: bool) -> float:
        """Counts the operations of the network's products and convolutions on the batch.

        The operations are those of the equations, in whatever form a program computes them. Each
        multiplication and each addition counts as one. A training step counts three times the
        objective: gradients with respect to the maps, and those with respect to the kernels, each
        take as many operations as the value does.
        """
        model = abstract_model(self.config)
        network = model.inner if isinstance(model, Windowed) else model
        assert isinstance(network, Dista)
        pixels, nodes = network.phi.shape
        stage = network.stages[0]
        assert stage.dynamic_transform is not None
        hidden = stage.dynamic_transform.compress.kernel.shape[1]
        maps = self.channels
        two_convolutions = 9 * maps + 9 * maps * maps
        transform = 9 + hidden  # per node: the kernel, and its hypernetwork's first layer
        # Per node: the point view, both parts of the wide view, the squeeze and the merge.
        threshold = maps * maps // 2 + 9 * maps + maps * maps // 2 + 9 * 4 + maps * maps // 2
        per_node = 2 * pixels + 2 * two_convolutions + transform + threshold
        if training:
            per_node += two_convolutions  # the symmetry residual
        products = self.stages * (nodes * per_node + 9 * hidden) + pixels * nodes
        return (3.0 if training else 1.0) * 2 * products * self.batch


def prepare_inference(network: Network) -> Candidate:
    """Prepares inference in batches as large as those of `Unmixer` and `evaluate`."""
    graphdef, state = nnx.split(create_model(network.config))
    images, _ = network.simulate()
    size = min(network.batch, inference_batch())
    parts = [part for part, _ in padded_batches(images, size)]

    @jax.jit
    def infer(state: nnx.State, images: Array) -> Array:
        return nnx.merge(graphdef, state)(images)

    compiled = infer.lower(state, parts[0]).compile()
    one_at_a_time = default_platform() == "cpu"  # for the reason in `in_batches`

    def call() -> Array:
        for part in parts:
            grids = compiled(state, part)
            if one_at_a_time:
                grids.block_until_ready()
        return grids

    return jax_candidate(call, _program_bytes(compiled))


def prepare_training(network: Network) -> Candidate:
    """Prepares a training step on one device: gradient and optimiser."""
    setup = build(network.config, data_mesh(jax.devices()[:1]))
    (batches,) = setup.feed.batches([range(1)])
    state = setup.initial_state()
    compiled = lower_train_steps(setup.train_steps, state, batches).compile()

    def advance() -> Array:
        nonlocal state
        state, losses = compiled(state, batches)
        return losses

    return jax_candidate(advance, _program_bytes(compiled))


def _program_bytes(compiled: jax.stages.Compiled) -> int | None:
    """Returns the bytes that a call needs for arguments, results and what lies between them."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    sizes = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    total = sum(int(getattr(analysis, size)) for size in sizes)
    return total - int(analysis.alias_size_in_bytes)
