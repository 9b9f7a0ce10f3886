"""Sensors, priors and pixels at every edge: a finite answer, or a line that names the cause."""

import json
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from distax import DistaxError, DistaxWarning, Sensor, Unmixer, make_targets
from distax.evaluation import evaluate
from distax.imaging.scenes import ScenePrior
from distax.models import create
from distax.runtime.pytree import named_leaves

# One structure of sensors and priors, and one number of images, compile one program.
SENSORS = st.fixed_dictionaries(
    {
        "sigma": st.sampled_from([0.05, 0.1, 0.5, 1.5, 5.0]),
        "saturation": st.sampled_from([1e-3, 1.0, 255.0, 1e12]),
        "bit_depth": st.sampled_from([1, 8, 16, 32]),
        "gain": st.sampled_from([1e-6, 1.0, 1e6]),
        "read_noise": st.sampled_from([0.0, 1e-6, 1.0, 1e3, 1e6]),
        "background": st.sampled_from([0.0, 1e-6, 10.0, 1e5]),
    }
)
INTENSITIES = st.sampled_from([(220.0, 250.0), (1e-6, 1e-5), (1e-30, 1e30), (220.0, 1e12)])
SEEDS = st.integers(0, 10**6)
EXTREME = (0, 1e-45, 1e-38, -1e-30, -1, -1e30, 1e30, 3e38, np.inf, -np.inf, np.nan, 1, 254, 1e6)
CAUSES = (
    *("sigma", "saturation", "bit_depth", "gain", "read_noise", "background"),
    *("max_intensity", "min_intensity", "signal-to-noise ratio", "image 0, pixel"),
)


def extreme_images(seed):
    """Returns eight images: of extreme pixels alone, of some among good ones, and of one value."""
    rng = np.random.default_rng(seed)
    scattered = rng.choice(EXTREME, (8, 11, 11))
    good = rng.normal(50, 30, (8, 11, 11)).clip(0, 255)
    share = np.array([1, 0.5, 0.05, 0.01, 0, 0, 0, 0])[:, None, None]
    images = np.where(rng.random((8, 11, 11)) < share, scattered, good)
    images[5:7] = rng.choice(EXTREME, (2, 1, 1))
    return images.astype(np.float32)


def check(unmix, images):
    """Asserts that all numbers of an answer are finite, or that a refusal names its cause."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DistaxWarning)
        try:
            found = unmix(images)
        except DistaxError as error:
            line = str(error)
        else:
            line = ""
    if line:
        assert any(cause in line for cause in CAUSES), line
        return
    for name, leaf in named_leaves(found).items():
        assert np.all(np.isfinite(np.asarray(leaf, float))), name


@pytest.mark.parametrize("method", ["refine", "fast"])
@settings(max_examples=20)
@given(SENSORS, INTENSITIES, SEEDS)
def test_answers_for_any_sensor_and_prior_are_finite_or_name_a_cause(
    method, sensor, intensities, seed
):
    def unmix(images):
        low, high = intensities
        prior = ScenePrior(min_intensity=low, max_intensity=high)
        return Unmixer(method=method, sensor=Sensor(**sensor), prior=prior)(images)

    check(unmix, extreme_images(seed))


@settings(max_examples=10)
@given(SEEDS)
def test_networks_answer_extreme_pixels_or_name_them(seed):
    check(Unmixer(method="fast"), extreme_images(seed))


@pytest.fixture(scope="module")
def grid_model():
    return create("espcn", sensor=Sensor(), rngs=nnx.Rngs(0), window=5)


@settings(max_examples=10)
@given(SEEDS)
def test_a_grid_model_reports_finite_targets_of_any_pixels(grid_model, seed):
    images = jnp.asarray(extreme_images(seed))
    for name, leaf in named_leaves(
        nnx.jit(lambda model, x: model.detect(x))(grid_model, images)
    ).items():
        assert np.all(np.isfinite(np.asarray(leaf, float))), name


@settings(max_examples=10)
@given(SEEDS)
def test_scores_of_any_pixels_are_numbers(grid_model, seed):
    truth = make_targets(jnp.full((8, 1, 2), 5.0), jnp.full((8, 1), 230.0), jnp.ones((8, 1), bool))
    scores = evaluate(grid_model, extreme_images(seed), truth)
    json.dumps(scores.to_dict(), allow_nan=False)
