import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError, Sensor
from distax.models import create
from distax.models.superresolution.san import covariance_root


def test_the_root_squares_to_the_covariance():
    # Five steps are enough where eigenvalues are near each other.
    rng = np.random.default_rng(0)
    white, _ = np.linalg.qr(rng.normal(size=(121, 4)))
    maps = (white @ (np.eye(4) + 0.2 * rng.normal(size=(4, 4)))).reshape(1, 11, 11, 4)
    covariance = np.cov(maps.reshape(121, 4), rowvar=False, bias=True)
    root = covariance_root(jnp.asarray(100 * maps, jnp.float32))[0]
    np.testing.assert_allclose(
        root @ root, 1e4 * covariance, rtol=0, atol=2e-3 * 1e4 * covariance.max()
    )


def test_constant_maps_have_no_covariance():
    def total(maps):
        return covariance_root(maps).sum()

    value, gradient = jax.value_and_grad(total)(jnp.full((1, 5, 5, 3), 7.0))
    assert value == 0
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 12}, "channels must be a multiple of 8, got 12"),
        ({"reduction": 3}, "channels must be a multiple of 3, got 64"),
        ({"blocks": 0}, "blocks must be greater than 0"),
        ({"sensor": Sensor(height=3, width=3)}, "at least 4 pixels high and wide, got 3×3"),
    ],
)
def test_sizes_that_cannot_work_are_refused(options, message):
    with pytest.raises(DistaxError, match=message):
        nnx.eval_shape(lambda: create("san", rngs=nnx.Rngs(0), **options))
