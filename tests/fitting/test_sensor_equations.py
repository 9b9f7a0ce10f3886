from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from distax import Sensor, make_targets, render
from distax.fitting.candidates import Search, sample_pools
from distax.fitting.patch import cut_rows
from distax.fitting.sensor_equations import sensor_terms
from distax.imaging.scenes import ScenePrior

SENSOR = Sensor(sigma=(0.5, 0.6), saturation=None, bit_depth=None, read_noise=2.0, background=10.0)
PRIOR = ScenePrior(max_targets=1)
PLACE = np.array([5.2, 4.9, 235.0])
WIDTH = 5


def image(sensor, place):
    targets = make_targets(jnp.asarray(place[None, :2]), jnp.asarray(place[None, 2]))
    return np.asarray(render(targets, sensor), float) + float(sensor.background)


def difference(up, down, step):
    """The central difference of two images, in the window around pixel (5, 5)."""
    return ((up - down) / (2 * step))[3:8, 3:8].ravel()


def test_the_matrix_is_the_inverse_of_the_sensor_s_block_of_the_joint_covariance():
    step = 1e-2
    rows = []
    for name in ("row", "column", "background"):
        sensors = []
        for sign in (1, -1):
            row, column = SENSOR.sigma
            change = {"row": 0.0, "column": 0.0, "background": 0.0} | {name: sign * step}
            sigma = (row + change["row"], column + change["column"])
            level = SENSOR.background + change["background"]
            sensors.append(replace(SENSOR, sigma=sigma, background=level))
        rows.append(difference(*(image(sensor, PLACE) for sensor in sensors), step))
    for index, size in enumerate((step, step, 1.0)):
        away = size * np.eye(3)[index]
        rows.append(difference(image(SENSOR, PLACE + away), image(SENSOR, PLACE - away), size))
    jacobian = np.stack(rows)
    precision = np.diag([0, 0, 0, 6.0, 6.0, 12 / 30**2])
    joint = np.linalg.inv(jacobian @ jacobian.T / 4.0 + precision)
    expected = np.linalg.inv(joint[:3, :3])

    search = Search(pool=16, starts=1, steps=8)
    pixels = np.float32(image(SENSOR, PLACE))[None]
    windows = cut_rows(pixels, SENSOR, WIDTH)
    terms = sensor_terms(windows, sample_pools(PRIOR, search), SENSOR, PRIOR, search)
    terms = jax.tree.map(np.asarray, terms)
    assert terms.count == [1]
    np.testing.assert_allclose(terms.matrix[0], expected, rtol=0.01, atol=0.01 * expected.max())
    # The image is the model's, so no step leads away from it beyond the pull of the scene's prior.
    move = np.linalg.solve(terms.matrix[0], terms.vector[0])
    assert np.abs(move[:2]).max() < 0.02
    assert abs(move[2]) < 0.2
