"""Simulated detections of known targets, without images."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import make_targets
from distax.tracking import sample, track

STD = 0.05


def detections(position, seed=0, std=STD, missed=0.0, clutter=0.0):
    """Adds noise, missed detections and false detections to true positions `[N, T, K, 2]`.

    Slots are shuffled in every frame, since an estimator does not know identities.
    """
    rng = np.random.default_rng(seed)
    shape = position.shape[:3]
    noisy = position + std * rng.normal(size=position.shape)
    mask = ~np.isnan(position[..., 0]) & (rng.uniform(size=shape) >= missed)
    false = rng.uniform(0, 10, (*shape[:2], 1, 2))
    found = np.concatenate([np.nan_to_num(noisy), false], axis=2)
    mask = np.concatenate([mask, rng.uniform(size=(*shape[:2], 1)) < clutter], axis=2)
    order = np.argsort(rng.uniform(size=mask.shape), axis=-1)
    found = np.take_along_axis(found, order[..., None], axis=2)
    mask = np.take_along_axis(mask, order, axis=2)
    targets = make_targets(
        jnp.asarray(found, jnp.float32), jnp.full(mask.shape, 230.0), jnp.asarray(mask)
    )
    covariance = jnp.broadcast_to(jnp.float32(std**2) * jnp.eye(2), (*mask.shape, 2, 2))
    return replace(targets, covariance=covariance)


@pytest.fixture(scope="session")
def detect():
    return detections


@pytest.fixture(scope="session")
def simulated():
    """Sixteen sequences of the default prior: detections with misses and clutter, tracks, truth."""
    truth = jax.tree.map(np.asarray, sample(jax.random.key(11), 16))
    position = np.where(truth.mask[..., None], truth.position, np.nan)
    found = detections(position, missed=0.1, clutter=0.2)
    return found, track(found), truth
