from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from distax import Sensor, make_targets, render
from distax.fitting.moves import move_all
from distax.fitting.patch import cut_patches, window_width
from distax.fitting.prior import log_prior
from distax.imaging.scenes import ScenePrior

PRIOR = ScenePrior(max_targets=1)
SENSOR = Sensor(read_noise=5.0)


def test_moves_forget_their_start_and_keep_the_prior():
    # Alike to either side of the pixel's middle, and bright enough for the prior to cut it off.
    image = render(make_targets(jnp.array([[[5.0, 5.0]]]), jnp.array([[249.0]])), SENSOR)
    patch = cut_patches(jnp.round(image), SENSOR, window_width(SENSOR, PRIOR.cluster))
    move = partial(move_all, patch=patch, prior=PRIOR, psf=SENSOR.psf)
    proposal_key, accept_key = jax.random.split(jax.random.key(0))
    proposals = jax.random.normal(proposal_key, (24, 3, 256))
    acceptance = jnp.log(jax.random.uniform(accept_key, (24, 256)))
    start = jnp.broadcast_to(jnp.array([0.05, -0.05, 235.0])[None, :, None], (1, 3, 256))
    moved = jax.jit(move)(start, proposals, acceptance, jnp.array(0.1))
    assert np.isfinite(log_prior(moved, patch, PRIOR)).all()
    row, column, intensity = np.asarray(moved[0])
    assert 0.03 < row.std() < 0.06
    assert max(abs(row.mean()), abs(column.mean())) < 3 * row.std() / 16
    assert 240 < intensity.mean() < 249
    assert intensity.max() > 249
