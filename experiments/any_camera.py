"""Trains the network of the estimator `FastFit` on scenes of random cameras, without end.

    python experiments/any_camera.py simulate --folder runs/any_camera --seed 1 &
    python experiments/any_camera.py train --folder runs/any_camera --minutes 60

The first command fits simulated images and writes what the network sees to files. It runs until it
is stopped, in as many processes as there are seeds. The second trains on the files that are there,
reads new ones as they come, and writes `network.safetensors` at each evaluation. It resumes from
that file.
"""

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray
from mode_examples import PER_CAMERA, Examples, examples_of, read_examples, turn, write_examples
from random_cameras import csist, random_camera

from distax.fitting.mixture import negative_log_likelihood
from distax.fitting.network import ModeNetwork, load_network, save_network
from distax.fitting.tokens import LARGEST_COUNT
from distax.runtime.batching import in_batches
from distax.runtime.pytree import pytree

PER_FILE = 4096
"""Scenes in a file, all with the same number of targets."""
COUNT_SHARES = 0.07, 0.11, 0.17, 0.23, 0.26, 0.16
"""Shares of scenes by their number of targets. More targets are harder, so they are shown more
often."""
BATCH = 256


def simulate(folder: Path, seed: int, csist_share: float = 0.3, files: int = 10**6) -> None:
    """Write examples to files.

    Args:
      folder: folder of the files.
      seed: random seed; another process takes another one.
      csist_share: share of scenes of CSIST-100K's camera.
      files: number of files to write.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Files that are there are continued by others of new random numbers.
    first = len(list(folder.glob(f"examples_{seed}_*.npz")))
    started = time.time()
    for number in range(first, first + files):
        rng = np.random.default_rng([seed, number])
        # The first files hold one of every number of targets.
        count = int(rng.choice(LARGEST_COUNT, p=COUNT_SHARES)) + 1
        count = number + 1 if number < LARGEST_COUNT else count
        parts: list[Any] = []
        for step in range(PER_FILE // PER_CAMERA):
            published = rng.random() < csist_share
            camera = csist(rng, count) if published else random_camera(rng, count)
            key = jax.random.fold_in(jax.random.key(seed), number * PER_FILE + step)
            parts.append(jax.tree.map(np.asarray, examples_of(camera, key)))
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        used = write_examples(folder / f"examples_{seed}_{number:05d}_{count}.npz", joined)
        rate = PER_FILE * (number - first + 1) / (time.time() - started)
        print(f"file {number}: {count} targets, {used:.4f} used, {rate:.0f} scenes/s", flush=True)


class Store:
    """Examples in memory by their number of targets, filled from files as they come."""

    def __init__(self, folder: Path, held_out: set[Path]):
        self._folder, self._read = folder, set(held_out)
        self._of_count: dict[int, Examples] = {}

    def refresh(self) -> int:
        """Reads new files; returns the number of examples."""
        new: dict[int, list[Examples]] = {}
        for path in sorted(set(self._folder.glob("examples_*.npz")) - self._read):
            self._read.add(path)
            examples = read_examples(path)
            new.setdefault(count_of(examples), []).append(examples)
        for count, parts in new.items():
            known = [self._of_count[count]] if count in self._of_count else []
            self._of_count[count] = jax.tree.map(
                lambda *leaves: np.concatenate(leaves), *known, *parts
            )
        return sum(len(one.position) for one in self._of_count.values())

    def batch(self, rng: np.random.Generator) -> Examples:
        """Draws a batch of one number of targets."""
        counts = sorted(self._of_count)
        share = np.array([len(self._of_count[count].position) for count in counts])
        examples = self._of_count[int(rng.choice(counts, p=share / share.sum()))]
        rows = rng.integers(0, len(examples.position), BATCH)
        return jax.tree.map(lambda leaf: leaf[rows], examples)


def count_of(examples: Examples) -> int:
    """Returns the number of targets of each example."""
    return int(examples.position.shape[1])


def losses(network: ModeNetwork, examples: Examples) -> Float[Array, " N"]:
    """Computes the loss of each example."""
    tokens = examples.tokens
    return negative_log_likelihood(
        network(tokens), examples.position, examples.intensity, tokens.scale, tokens.half_range
    )


OPTIMIZER = optax.chain(
    optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.add_decayed_weights(1e-4)
)
KEPT = 0.998
"""Share of the running mean of the parameters that a step keeps."""


@pytree
class State:
    """Parameters, the optimiser's state, and the running mean of the parameters, which is used."""

    params: Any
    optimizer: Any
    mean: Any


@partial(jax.jit, static_argnums=0, donate_argnums=1)
def step(
    graphdef: Any, state: State, key: PRNGKeyArray, rate: Float[Array, ""], batch: Examples
) -> tuple[State, Float[Array, ""]]:
    """Takes a training step; returns the next state and the loss."""

    def loss(params: Any) -> Array:
        return jnp.mean(losses(nnx.merge(graphdef, params), turn(key, batch)))

    value, gradient = jax.value_and_grad(loss)(state.params)
    update, optimizer = OPTIMIZER.update(gradient, state.optimizer, state.params)
    params = jax.tree.map(lambda p, u: p - rate * u, state.params, update)
    mean = jax.tree.map(lambda m, p: KEPT * m + (1 - KEPT) * p, state.mean, params)
    return State(params=params, optimizer=optimizer, mean=mean), value


@partial(jax.jit, static_argnums=0)
def evaluate(graphdef: Any, params: Any, batch: Examples) -> Float[Array, " N"]:
    """Computes the loss of each example of a batch."""
    return losses(nnx.merge(graphdef, params), batch)


def train(
    folder: Path,
    minutes: float,
    learning_rate: float = 2e-3,
    width: int = 64,
    blocks: int = 3,
    warm_up: int = 300,
    every: int = 1000,
) -> None:
    """Train on the examples of a folder, and write the network there.

    The first file of each number of targets is held out.

    Args:
      folder: folder of the files.
      minutes: time to train; the learning rate falls to zero at its end.
      learning_rate: peak learning rate.
      width: number of features of a token inside the network.
      blocks: number of blocks.
      warm_up: steps over which the learning rate rises.
      every: steps between evaluations.
    """
    first = {path.stem[-1]: path for path in sorted(folder.glob("examples_*.npz"), reverse=True)}
    store = Store(folder, set(first.values()))
    test = [read_examples(path) for _, path in sorted(first.items())]
    path = folder / "network.safetensors"
    if path.is_file():
        network = load_network(path)
    else:
        network = ModeNetwork(width=width, blocks=blocks, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(network)
    state = State(
        params=params, optimizer=OPTIMIZER.init(params), mean=jax.tree.map(jnp.copy, params)
    )
    rng, started, number = np.random.default_rng(time.time_ns()), time.time(), 0
    total, recent = store.refresh(), deque[float](maxlen=every)
    while (spent := (time.time() - started) / 60) < minutes:
        warm = min(1.0, (number + 1) / warm_up)
        rate = learning_rate * warm * 0.5 * (1 + np.cos(np.pi * spent / minutes))
        key = jax.random.key(int(rng.integers(2**31)))
        state, value = step(graphdef, state, key, jnp.float32(rate), store.batch(rng))
        recent.append(float(value))
        number += 1
        if number % every == 0:
            print(f"step {number}, {spent:.1f} min, {total} examples", end="")
            print(f", training {np.mean(recent):.3f}", end="; ")
            report(partial(evaluate, graphdef, state.mean), test)
            save_network(path, nnx.merge(graphdef, state.mean))
            total = store.refresh()
    report(partial(evaluate, graphdef, state.mean), test)
    save_network(path, nnx.merge(graphdef, state.mean))


def report(evaluate: Callable[[Examples], Array], test: list[Examples]) -> None:
    """Prints the held-out loss on CSIST-100K's camera and on others, by number of targets."""
    of_published, of_others = [], []
    for examples in test:
        loss = in_batches(evaluate, examples, 2 * BATCH)
        camera = np.asarray(examples.tokens.camera)
        one_pixel, narrow_range = np.isclose(camera[:, 2], 0), np.log(250 / 220)
        published = one_pixel & np.isclose(camera[:, 4], narrow_range, atol=1e-4)
        of_published.append(loss[published].mean())
        of_others.append(loss[~published].mean() if (~published).any() else np.nan)
    print("held-out loss on", end=" ")
    for name, means in (("CSIST-100K", of_published), ("others", of_others)):
        print(name, f"{np.mean(means):.3f}:", *(f"{mean:.3f}" for mean in means), end="; ")
    print(flush=True)


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"simulate": simulate, "train": train})
