"""Parity with the original toolkit: its weights in distax's models give its outputs."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax.interop import grokcso

REFERENCE = Path(__file__).parents[2] / "reference"
# The largest change of an original's output under rounding; parity is within ten times of it.
ROUNDING = {
    "actnet": 1e-4,
    "cfgn": 6e-5,
    "ctnet": 1e-4,
    "dctlsa": 5e-5,
    "edsr": 2e-4,
    "egasr": 2e-4,
    "fenet": 1e-4,
    "fista_net": 1e-4,
    "focus": 9e-5,
    "han": 2e-4,
    "ista_net": 3e-5,
    "ista_net_plus": 1e-4,
    "lamp": 1e-4,
    "liht": 1e-4,
    "lista": 8e-5,
    "rcan": 9e-5,
    "rdn": 1e-4,
    "rpcanet": 3e-5,
    "san": 6e-5,
    "srcnn": 8e-5,
    "srfbn": 1e-4,
    "tilista": 7e-5,
    "usrnet": 5e-5,
}

# Models that `test_zoo_stages` compares, outputs and stages together.
WITH_STAGES = {
    "fista_net",
    "focus",
    "ista_net",
    "ista_net_plus",
    "lamp",
    "liht",
    "lista",
    "rpcanet",
    "tilista",
    "usrnet",
}


def read(name, folder="zoo"):
    with np.load(REFERENCE / folder / f"{name}.npz") as file:
        arrays = dict(file)
    weights = {
        key.removeprefix("weights/"): np.float32(value)
        for key, value in arrays.items()
        if key.startswith("weights/")
    }
    with np.load(REFERENCE / "zoo/common.npz") as file:
        return arrays, weights, {"phi": file["phi"], "q_init": file["q_init"]}


def load(name, folder="zoo", **options):
    """Loads the model with the original's weights, the images and the original's arrays."""
    arrays, weights, matrices = read(name, folder)
    options = {"fista_net": {"stages": 3}}.get(name, {}) | options
    model = grokcso.load(name, weights, factor=3, **matrices, **options)
    return model, jnp.asarray(arrays["images"].reshape(-1, 11, 11), float), arrays


@pytest.mark.parametrize("name", sorted(ROUNDING.keys() - WITH_STAGES))
def test_the_output_is_the_originals(name):
    model, images, arrays = load(name)
    with jax.default_matmul_precision("highest"):
        output = jax.jit(model)(images)
    expected = arrays["output"].reshape(-1, 33, 33)
    np.testing.assert_allclose(output, expected, rtol=0, atol=10 * ROUNDING[name])
