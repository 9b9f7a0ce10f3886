"""Scenes and their least-squares answers, shared by several modules' tests."""

import jax
import pytest

from distax import Sensor
from distax.fitting.estimators import Refine
from distax.imaging.scenes import ScenePrior, simulate


@pytest.fixture(scope="session")
def simulated():
    """200 images of CSIST-100K's prior and sensor, and their targets."""
    return simulate(jax.random.key(11), 200)


@pytest.fixture(scope="session")
def refined(simulated):
    """The least-squares answers to them."""
    return Refine()(simulated[0], Sensor(), ScenePrior())
