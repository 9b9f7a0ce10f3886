"""Windows with a PSF each, against the same windows with one PSF at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import Sensor, expose, make_targets, render
from distax.fitting.estimators import Posterior, Refine
from distax.fitting.local_psf import LocalEstimator, LocalPsf, refine_rows_apart
from distax.fitting.patch import cut_rows
from distax.fitting.posterior import _sample
from distax.fitting.sampler import Effort
from distax.imaging.psf import MeasuredPsf
from distax.imaging.psf_grid import PsfGrid
from distax.imaging.scenes import RAYLEIGH, ScenePrior
from tests.imaging.test_psf_grid import make_measured

SIGMAS = ((0.5, 0.55), (0.6, 0.5), (0.45, 0.5), (0.7, 0.6))
GAUSSIANS = PsfGrid((0.0, 10.0), (0.0, 10.0), SIGMAS)
GRIDS = {
    "Gaussians": GAUSSIANS,
    "measured": PsfGrid((0.0, 10.0), (0.0, 10.0), SIGMAS, make_measured(SIGMAS)),
}
PLACES = np.array([[0.0, 0.0], [3.0, 8.0], [10.0, 10.0], [5.0, 5.0]])
PRIOR = ScenePrior(max_targets=2, min_intensity=200.0, max_intensity=400.0)
REFINE = Refine(together=True)
ESTIMATORS = {
    "refine": REFINE,
    "posterior": Posterior(effort=Effort(levels=3, moves=8), refine=REFINE),
}


@pytest.fixture(scope="module", params=GRIDS)
def local(request):
    """Windows of a pair each at several places of a frame, with their PSFs."""
    grid = GRIDS[request.param]
    psf = grid.psfs_at(PLACES)
    pairs = make_targets(jnp.array([[[5.1, 4.8], [4.7, 5.2]]] * 4), jnp.array([[260.0, 340.0]] * 4))
    sensor = Sensor(read_noise=1.0, saturation=None)
    images = jax.vmap(lambda one, own: render(one, sensor.with_psf(own)))(pairs, psf)
    pixels = np.asarray(expose(jax.random.key(0), images, sensor))
    rows = jax.tree.map(np.asarray, cut_rows(pixels, sensor, 7))
    rayleigh = RAYLEIGH * grid.sigmas_at(PLACES).max(axis=1)
    return rows, LocalPsf(psf=psf, rayleigh_unit=rayleigh.astype(np.float32))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_each_window_is_unmixed_as_if_its_psf_were_everywhere(local, name):
    rows, own = local
    if name == "posterior" and isinstance(own.psf, MeasuredPsf):
        pytest.skip("its program takes a minute to compile, and treats all PSFs alike")
    estimator = ESTIMATORS[name]
    assert isinstance(estimator, LocalEstimator)
    together = estimator.unmix_local(rows, own, PRIOR)
    for k in range(len(PLACES)):
        window, alone = jax.tree.map(lambda leaf, k=k: leaf[[k] * 4], (rows, own))
        expected = estimator.unmix_local(window, alone, PRIOR)
        for field in ("position", "intensity", "covariance", "score"):
            np.testing.assert_allclose(
                getattr(together, field)[k], getattr(expected, field)[0], rtol=1e-3, atol=1e-3
            )
    assert together.count.tolist() == [2] * 4


def test_equal_psfs_give_the_answers_of_one_psf(local):
    rows, own = local
    psf = jax.tree.map(lambda leaf: jnp.asarray(leaf[1]), own.psf)
    unit = float(own.rayleigh_unit[1])
    prior = ScenePrior(max_targets=2, min_intensity=200.0, max_intensity=400.0, rayleigh_unit=unit)
    everywhere = jax.tree.map(lambda leaf: leaf[[1] * 4], own)
    one = REFINE.unmix_windows(rows, Sensor().with_psf(psf), prior)
    local_answer = REFINE.unmix_local(rows, everywhere, prior)
    assert local_answer.count.tolist() == one.count.tolist()
    np.testing.assert_allclose(local_answer.position, one.position, atol=2e-3)
    np.testing.assert_allclose(local_answer.misfit, one.misfit, rtol=1e-3)


def test_other_psfs_run_the_same_program(local):
    rows, own = local
    name = "refine" if isinstance(own.psf, MeasuredPsf) else "posterior"
    ESTIMATORS[name].unmix_local(rows, own, PRIOR)
    sizes = refine_rows_apart._cache_size(), _sample._cache_size()
    swapped = jax.tree.map(lambda leaf: leaf[::-1], own)
    ESTIMATORS[name].unmix_local(rows, swapped, PRIOR)
    assert (refine_rows_apart._cache_size(), _sample._cache_size()) == sizes
