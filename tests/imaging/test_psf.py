import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, Sensor, make_targets, render
from distax.imaging.psf import MeasuredPsf, pixel_response, profiles, responses

OVERSAMPLING = 4
SIDE = 45
OFFSET = (np.arange(SIDE) - SIDE // 2) / OVERSAMPLING


def gaussian(offset, sigma=0.5):
    """Returns the share of the flux along one axis in pixels at offsets from the target."""
    return np.array([pixel_response(jnp.float32(-u), 1, sigma)[0] for u in np.ravel(offset)])


def coma(row, column):
    """A PSF with a fainter, wider companion to one side, which is no product of two profiles."""
    core = np.outer(gaussian(row), gaussian(column))
    return 0.8 * core + 0.2 * np.outer(gaussian(row + 0.3, 1.0), gaussian(column - 0.1, 0.7))


@pytest.fixture(scope="module")
def psf():
    return MeasuredPsf.from_samples(coma(OFFSET, OFFSET), OVERSAMPLING)


def test_terms_make_up_the_samples(psf):
    assert len(psf.rows) == 2
    np.testing.assert_allclose(psf.samples, coma(OFFSET, OFFSET), atol=2e-5)


def test_images_are_right_between_the_samples(psf):
    row, column = 5.137, 4.71
    image = render(
        make_targets(jnp.array([[row, column]]), jnp.array([100.0])), Sensor(measured_psf=psf)
    )
    expected = 100 * coma(np.arange(11) - row, np.arange(11) - column)
    np.testing.assert_allclose(image, expected, atol=2e-3)


def test_the_sampling_matrix_holds_the_images_of_the_nodes(psf):
    sensor = Sensor(height=4, width=6, measured_psf=psf)
    nodes = jnp.array([[1.0 / 3, 2 - 1 / 3], [2.0, 5.0]])
    images = render(make_targets(nodes[:, None], jnp.ones((2, 1))), sensor)
    numbers = [2 * 18 + 6, 7 * 18 + 16]
    matrix = sensor.sampling_matrix(3)
    np.testing.assert_allclose(matrix.T[jnp.array(numbers)], images.reshape(2, -1), atol=1e-6)


def test_a_measured_gaussian_agrees_with_the_gaussian():
    measured = MeasuredPsf.from_samples(np.outer(gaussian(OFFSET), gaussian(OFFSET)), OVERSAMPLING)
    assert len(measured.rows) == 1
    position = jnp.array([[2.2, 3.9], [-0.4, 5.0]])
    for mine, closed in zip(
        responses(position, (6, 7), measured), responses(position, (6, 7), 0.5), strict=True
    ):
        np.testing.assert_allclose(jnp.abs(mine), closed, atol=1e-5)


def test_slopes_are_the_derivatives(psf):
    position = jnp.array([[2.2, 3.9], [0.4, 5.0]])
    for shape_of in (psf, (0.5, 0.7)):

        def shares(shift, shape_of=shape_of):
            return responses(position + shift, (6, 7), shape_of)

        for axis in (0, 1):
            way = jnp.zeros(2).at[axis].set(1.0)
            _, change = jax.jvp(shares, (jnp.zeros(2),), (way,))
            slope = profiles(shape_of)[axis].slope(position[:, axis], np.arange((6, 7)[axis]))
            np.testing.assert_allclose(slope, change[axis], atol=1e-5)


def test_the_psf_is_zero_beyond_the_samples(psf):
    rows, columns = responses(jnp.array([2.0, 30.0]), (40, 40), psf)
    reach = np.abs(np.arange(40) - 2.0) > psf.reach
    assert np.all(np.asarray(rows)[:, reach] == 0.0)
    assert np.any(np.asarray(rows)[:, ~reach] != 0.0)
    assert np.all(np.asarray(columns)[:, :24] == 0.0)


def test_profiles_take_the_pixels_on_any_axis(psf):
    coordinate, pixels = jnp.array([[0.1, -0.3], [1.0, 2.0]]), np.arange(5) - 2.0
    for profile in (*profiles(psf), *profiles((0.5, 0.7))):
        for along in (profile.response, profile.slope):
            last = along(coordinate, pixels)
            assert np.array_equal(along(coordinate, pixels, axis=1), jnp.moveaxis(last, -1, 2))
            assert np.array_equal(along(coordinate, pixels, axis=0), jnp.moveaxis(last, -1, 1))


def test_samples_are_scaled_to_unit_flux():
    psf = MeasuredPsf.from_samples(3.0 * coma(OFFSET, OFFSET), OVERSAMPLING)
    assert psf.samples.sum() == pytest.approx(OVERSAMPLING**2)


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (((0.1, 1.0, 0.1),), (), "1 and 0 profiles of 3 samples"),
        (((0.1, 1.0),), ((0.1, 1.0),), "of 2 samples"),
        (((0.1, 1.0, 0.1),), ((1.0,),), "of 1 and 3 samples"),
        ((), (), "of no samples"),
        ([[1.0]], [[1.0]], r"rows must be of type tuple, got \[\[1.0\]\]"),
        (((0.0,),), ((0.0,),), "the samples of a PSF hold no flux; give those of a point source"),
        (((0.1, -1.0, 0.1),), ((0.1, 1.0, 0.1),), "the samples of a PSF hold no flux"),
        (((0.1, 1.0, 0.1), (0.2, 1.0, 0.2)), ((0.1, 1.0, 0.1), (-1.0, -1.0, 0.0)), "hold no flux"),
        (((0.1, float("nan"), 0.1),), ((0.1, 1.0, 0.1),), "rows must be a finite number, got nan"),
    ],
)
def test_invalid_profiles_are_refused(rows, columns, message, any_types):
    with pytest.raises(DistaxError, match=message):
        MeasuredPsf(2, rows, columns)


def test_an_oversampling_of_zero_is_refused():
    with pytest.raises(DistaxError, match="oversampling"):
        MeasuredPsf(0, ((1.0,),), ((1.0,),))


@pytest.mark.parametrize(
    ("samples", "oversampling", "message"),
    [
        (np.ones(3), 1, r"finite numbers, rows by columns; got shape \(3,\)"),
        (np.full((3, 3), np.nan), 1, "finite numbers, rows by columns; got NaN or infinity"),
        (np.ones((3, 3)), 0, "oversampling must be greater than 0, got 0"),
        (np.ones((3, 3)), 1.5, "oversampling must be a whole number, got 1.5"),
    ],
)
def test_samples_that_are_no_table_are_refused(samples, oversampling, message, any_types):
    with pytest.raises(DistaxError, match=message):
        MeasuredPsf.from_samples(samples, oversampling)


def test_samples_without_flux_are_refused():
    with pytest.raises(DistaxError, match="no flux"):
        MeasuredPsf.from_samples(np.zeros((3, 3)), 2)
