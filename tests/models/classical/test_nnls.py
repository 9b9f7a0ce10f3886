import jax
import numpy as np
from flax import nnx
from scipy.optimize import nnls

from distax import Sensor
from distax.imaging.scenes import simulate
from distax.models import create

SENSOR = Sensor(height=5, width=5)


def test_no_image_is_fitted_better_by_another_solver():
    images, _ = simulate(jax.random.key(0), 3, SENSOR)
    model = create("nnls", iterations=5000, sensor=SENSOR, rngs=nnx.Rngs(0))
    phi = np.asarray(SENSOR.sampling_matrix(3), float)
    found = np.asarray(model(images), float).reshape(3, -1)
    assert found.min() >= 0
    for image, x in zip(np.asarray(images, float), found, strict=True):
        _, best = nnls(phi, image.ravel())
        assert np.linalg.norm(phi @ x - image.ravel()) < best + 0.3
