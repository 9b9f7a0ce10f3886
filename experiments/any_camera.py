"""Trains the network of the estimator `FastFit` on scenes of random cameras, without end.

    python experiments/any_camera.py simulate --folder runs/any_camera --seed 1 &
    python experiments/any_camera.py train --folder runs/any_camera --minutes 60

The first command fits simulated images and writes what the network sees to files. It runs until it
is stopped, in as many processes as there are seeds. The second trains on the files that are there,
reads new ones as they come, and writes `network.safetensors` at each evaluation. It resumes from
that file. `results/any_camera.safetensors` is a start: it saw 180,000 examples, each about seven
times in random turns, and its loss was still falling.
"""

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray
from mode_examples import (
    PER_CAMERA,
    Examples,
    examples_of,
    in_slots,
    narrow,
    read_examples,
    turn,
    write_examples,
)
from random_cameras import csist, random_camera

from distax.fitting.candidates import Search
from distax.fitting.mixture import negative_log_likelihood
from distax.fitting.network import ModeNetwork, load_network, save_network
from distax.fitting.tokens import LARGEST_COUNT

PER_FILE = 16_384
"""Scenes in a file."""
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
        parts: list[Any] = []
        for step in range(PER_FILE // PER_CAMERA):
            camera = csist(rng) if rng.random() < csist_share else random_camera(rng)
            key = jax.random.fold_in(jax.random.key(seed), number * PER_FILE + step)
            examples = jax.tree.map(np.asarray, examples_of(camera, key, Search()))
            parts.append(in_slots(examples))
        joined = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        used = write_examples(folder / f"examples_{seed}_{number:04d}.npz", joined)
        rate = PER_FILE * (number - first + 1) / (time.time() - started)
        print(f"file {number}: {used:.4f} used, {rate:.0f} scenes/s", flush=True)


class Store:
    """Examples in memory by number of found targets, filled from files as they come."""

    def __init__(self, folder: Path, held_out: Path):
        self._folder, self._read = folder, {held_out}
        self._parts: dict[int, list[Examples]] = {}
        self._joined: dict[int, Examples] = {}

    def refresh(self) -> int:
        """Reads new files; returns the number of examples."""
        for path in sorted(self._folder.glob("examples_*.npz")):
            if path in self._read:
                continue
            self._read.add(path)
            examples = read_examples(path)
            found = examples.tokens.mask.sum(axis=1)
            for count in np.unique(found).tolist():
                rows = found == count
                part = jax.tree.map(lambda leaf, rows=rows: leaf[rows], examples)
                self._parts.setdefault(count, []).append(narrow(part, count))
        for count, parts in self._parts.items():
            if len(parts) > 1:
                parts[:] = [jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)]
            self._joined[count] = parts[0]
        return sum(len(one.mask) for one in self._joined.values())

    def batch(self, rng: np.random.Generator) -> Examples:
        """Draws a batch of one number of targets; numbers are drawn by their share of targets."""
        counts = sorted(self._joined)
        share = np.array([len(self._joined[count].mask) * count**0.5 for count in counts])
        count = int(rng.choice(counts, p=share / share.sum()))
        examples = self._joined[count]
        rows = rng.integers(0, len(examples.mask), BATCH)
        return jax.tree.map(lambda leaf: leaf[rows], examples)


def losses(network: ModeNetwork, examples: Examples) -> Float[Array, " N"]:
    """Computes the loss of each example."""
    tokens = examples.tokens
    return negative_log_likelihood(
        network(tokens),
        examples.position,
        examples.intensity,
        examples.mask,
        tokens.scale,
        tokens.half_range,
    )


def train(
    folder: Path,
    minutes: float,
    learning_rate: float = 2e-3,
    width: int = 64,
    blocks: int = 3,
    warm_up: int = 300,
    every: int = 1000,
) -> None:
    """Train on the examples of a folder but those of its first file, and write the network there.

    Args:
      folder: folder of the files.
      minutes: time to train; the learning rate falls to zero at its end.
      learning_rate: peak learning rate.
      width: number of features of a token inside the network.
      blocks: number of blocks.
      warm_up: steps over which the learning rate rises.
      every: steps between evaluations.
    """
    held_out = min(folder.glob("examples_*.npz"))
    test, store = read_examples(held_out), Store(folder, held_out)
    path = folder / "network.safetensors"
    if path.is_file():
        network = load_network(path)
    else:
        network = ModeNetwork(width=width, blocks=blocks, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(network)
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0), optax.scale_by_adam(), optax.add_decayed_weights(1e-4)
    )
    state, mean = optimizer.init(params), params

    @jax.jit
    def step(
        params: Any, state: Any, mean: Any, key: PRNGKeyArray, rate: Array, batch: Examples
    ) -> Any:
        def loss(params: Any) -> Array:
            return jnp.mean(losses(nnx.merge(graphdef, params), turn(key, batch)))

        value, gradient = jax.value_and_grad(loss)(params)
        update, state = optimizer.update(gradient, state, params)
        params = jax.tree.map(lambda p, u: p - rate * u, params, update)
        mean = jax.tree.map(lambda m, p: 0.998 * m + 0.002 * p, mean, params)
        return params, state, mean, value

    @jax.jit
    def evaluate(params: Any, batch: Examples) -> Array:
        return losses(nnx.merge(graphdef, params), batch)

    total = store.refresh()
    rng, started, number = np.random.default_rng(int(time.time())), time.time(), 0
    recent: deque[float] = deque(maxlen=every)
    while (spent := (time.time() - started) / 60) < minutes:
        share = spent / minutes
        rate = learning_rate * min(1.0, (number + 1) / warm_up) * 0.5 * (1 + np.cos(np.pi * share))
        key = jax.random.key(int(rng.integers(2**31)))
        params, state, mean, value = step(
            params, state, mean, key, jnp.float32(rate), store.batch(rng)
        )
        recent.append(float(value))
        number += 1
        if number % every == 0:
            report(evaluate, mean, test, number, spent, float(np.mean(recent)), total)
            save_network(path, nnx.merge(graphdef, mean))
            total = store.refresh()
    report(evaluate, mean, test, number, minutes, float(np.mean(recent)), total)
    save_network(path, nnx.merge(graphdef, mean))


def report(
    evaluate: Callable[[Any, Examples], Array],
    params: Any,
    test: Examples,
    number: int,
    spent: float,
    training: float,
    total: int,
) -> None:
    """Prints the loss on held-out examples of CSIST-100K and of others, by number of targets."""
    size = 512
    parts = [
        np.asarray(evaluate(params, jax.tree.map(lambda leaf, s=s: leaf[s : s + size], test)))
        for s in range(0, len(test.mask), size)
    ]
    loss = np.concatenate(parts)
    count, camera = test.mask.sum(axis=1), np.asarray(test.tokens.camera)
    published = np.isclose(camera[:, 2], 0) & np.isclose(camera[:, 4], np.log(250 / 220), atol=1e-4)
    line = [
        f"step {number}, {spent:.1f} min, {total} examples, training {training:.3f}",
        f"held out {loss.mean():.3f}",
    ]
    for name, rows in (("CSIST-100K", published), ("others", ~published)):
        of_count = [loss[rows & (count == k)] for k in range(1, LARGEST_COUNT + 1)]
        line.append(" ".join([name, *(f"{part.mean():.3f}" for part in of_count if part.size)]))
    print("; ".join(line), flush=True)


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"simulate": simulate, "train": train})
