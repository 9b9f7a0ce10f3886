"""Saved training states, loaded by configuration."""

from pathlib import Path

from jax.sharding import Mesh

from distax.runtime.sharding import data_mesh
from distax.training import checkpoints
from distax.training.building import abstract_model
from distax.training.config import TrainConfig
from distax.training.optimizer import make_optimizer
from distax.training.state import TrainState, abstract_state


def load_state(run: Path, config: TrainConfig, mesh: Mesh | None = None) -> TrainState:
    """Loads the last state of a run onto a mesh. Default: the mesh of all devices."""
    optimizer = make_optimizer(config.optimizer, config.steps)
    abstract = abstract_state(
        abstract_model(config), optimizer, mesh or data_mesh(), config.shard_state
    )
    return checkpoints.load_state(run, abstract)
