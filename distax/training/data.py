"""The data of a training run: its feed and its held-out images, for single frames and sequences."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, PRNGKeyArray

from distax.imaging import motion, scenes
from distax.imaging.targets import Targets
from distax.models.registry import of_sequences
from distax.runtime.batching import join_batches
from distax.runtime.errors import DistaxError
from distax.runtime.sharding import replicate
from distax.training.config import TrainConfig
from distax.training.feeds import Feed, MemoryFeed, SimulatedFeed, StreamFeed

_SEQUENCES = "seqcsist/"
"""Prefix of the names of datasets of sequences."""


def takes_sequences(config: TrainConfig) -> bool:
    """Returns True if the configured model, which must be registered, takes sequences."""
    return config.model.name in of_sequences()


def simulation(config: TrainConfig) -> dict[str, Any]:
    """Returns the arguments of `SimulatedFeed` that say which scenes are simulated."""
    if takes_sequences(config) or config.data.moving:
        prior = config.motion_prior
        prior.check_room(config.sensor.shape)
        return {"prior": prior, "single_frames": not takes_sequences(config)}
    return {"prior": config.prior, "single_frames": False}


def make_feed(config: TrainConfig, mesh: Mesh) -> Feed:
    """Makes the configured source of training batches, for the devices of a mesh.

    Raises:
      DistaxError: the dataset is not there, cannot be read or does not suit the model; or the
        motion needs too much room.
    """
    key = _key(config.seed, "batches")
    if config.data.dataset is None:
        return SimulatedFeed(key, config.batch_size, config.sensor, mesh=mesh, **simulation(config))
    dataset, source = _open(config, "train")
    if config.data.feed == "stream":
        if _takes_frames_of_sequences(config):
            raise DistaxError(
                f"{config.data.dataset}: single frames of sequences cannot be streamed; leave "
                "data.feed at memory"
            )
        return StreamFeed(source, dataset.record_to_example, key, config.batch_size, mesh)
    data = _read(config, dataset, source)
    images, targets = jax.tree.map(lambda leaf: replicate(leaf, mesh), data)
    return MemoryFeed(images, targets, key, config.batch_size, mesh)


def make_held_out(config: TrainConfig) -> tuple[Float[np.ndarray, "N *row"], Targets]:
    """Makes the images for evaluation, which are never trained on, and their targets.

    Simulated scenes are drawn with another key than the training batches. The images of a dataset
    are those of its validation split.

    Returns:
      NumPy arrays of `config.eval_images` images, or of all there are if the dataset has fewer. A
      model of sequences gets as many sequences as hold that number, at least one.

    Raises:
      DistaxError: as `make_feed`.
    """
    count = config.eval_images
    if takes_sequences(config):
        count = max(count // config.motion.frames, 1)
    if config.data.dataset is not None:
        data = _read(config, *_open(config, "validation"))
    else:
        data = _simulate(config, _key(config.seed, "held-out"), count)
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:count], data)


def _simulate(config: TrainConfig, key: PRNGKeyArray, count: int) -> Any:
    """Simulates images, sequences, or images that are frames of sequences, with their targets."""
    if takes_sequences(config):
        return motion.simulate(key, count, config.sensor, config.motion_prior)
    if not config.data.moving:
        return scenes.simulate(key, count, config.sensor, config.prior)
    sequences = -(-count // config.motion.frames)
    return join_batches(motion.simulate(key, sequences, config.sensor, config.motion_prior))


def _open(config: TrainConfig, split: str) -> tuple[ModuleType, Sequence[Any]]:
    """Opens a split of the configured dataset; returns the dataset's module and its records."""
    from distax.datasets import csist100k, seqcsist

    name = str(config.data.dataset)
    dataset = seqcsist if name.startswith(_SEQUENCES) else csist100k
    if takes_sequences(config) and dataset is csist100k:
        raise DistaxError(
            f"the model {config.model.name} takes sequences, {name} has images; name a dataset "
            f"such as {_SEQUENCES}{name}"
        )
    return dataset, dataset.open_split(name.removeprefix(_SEQUENCES), split, config.data.data_dir)


def _takes_frames_of_sequences(config: TrainConfig) -> bool:
    sequences = str(config.data.dataset).startswith(_SEQUENCES)
    return sequences and not takes_sequences(config)


def _read(config: TrainConfig, dataset: ModuleType, source: Sequence[Any]) -> Any:
    """Reads a split; a model of single images gets the frames of sequences one by one.

    Raises:
      DistaxError: an image has more targets than the prior, by which the model was checked.
    """
    data = dataset.read_split(source)
    most, known = int(np.max(np.sum(data[1].mask, axis=-1), initial=0)), config.prior.max_targets
    if most > known:
        raise DistaxError(
            f"{config.data.dataset}: an image has {most} targets, the prior at most {known}; give "
            f"--prior.max-targets {most}"
        )
    return join_batches(data) if _takes_frames_of_sequences(config) else data


def _key(seed: int, purpose: str) -> PRNGKeyArray:
    purposes = ("batches", "held-out")
    return jax.random.fold_in(jax.random.key(seed), purposes.index(purpose))
