"""The data a configuration names: batches to train on, and images that are held out."""

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, PRNGKeyArray

from distax.imaging.scenes import simulate
from distax.imaging.targets import Targets
from distax.runtime.sharding import replicate
from distax.training.config import TrainConfig
from distax.training.feeds import Feed, MemoryFeed, SimulatedFeed, StreamFeed


def make_feed(config: TrainConfig, mesh: Mesh) -> Feed:
    """The configured source of training batches, for the devices of a mesh.

    Raises:
      DistaxError: the dataset is not there or cannot be read.
    """
    key = _key(config, "batches")
    if config.data.dataset is None:
        return SimulatedFeed(key, config.batch_size, config.sensor, config.prior, mesh)

    from distax.datasets import csist100k

    source = csist100k.open_split(config.data.dataset, "train", config.data.data_dir)
    if config.data.feed == "stream":
        return StreamFeed(source, csist100k.record_to_example, key, config.batch_size, mesh)
    data = csist100k.read_split(source)
    images, targets = jax.tree.map(lambda leaf: replicate(leaf, mesh), data)
    return MemoryFeed(images, targets, key, config.batch_size, mesh)


def make_held_out(config: TrainConfig) -> tuple[Float[np.ndarray, "N height width"], Targets]:
    """Images for evaluation that training never sees, and their targets, as NumPy arrays.

    Raises:
      DistaxError: the dataset is not there or cannot be read.
    """
    if config.data.dataset is None:
        key = _key(config, "held-out")
        data = simulate(key, config.eval_images, config.sensor, config.prior)
    else:
        from distax.datasets import csist100k

        source = csist100k.open_split(config.data.dataset, "validation", config.data.data_dir)
        data = csist100k.read_split(source)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[: config.eval_images], data)


def _key(config: TrainConfig, purpose: str) -> PRNGKeyArray:
    purposes = ("batches", "held-out")
    return jax.random.fold_in(jax.random.key(config.seed), purposes.index(purpose))
