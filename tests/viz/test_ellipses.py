import numpy as np
import pytest
from matplotlib.figure import Figure

from distax.viz.ellipses import REGION, draw_ellipses, error_ellipses, surroundings


def test_ellipses_contain_the_stated_share_of_gaussian_errors():
    covariance = np.array([[[0.09, 0.05], [0.05, 0.04]]])
    centre = np.array([[5.0, 7.0]])
    ax = Figure().subplots()
    draw_ellipses(ax, centre, covariance)
    (ellipse,) = ax.patches
    random = np.random.default_rng(0)
    row, column = random.multivariate_normal(centre[0], covariance[0], 20_000).T
    outline = ellipse.get_patch_transform().transform_path(ellipse.get_path())
    inside = outline.contains_points(np.stack([column, row], axis=-1))
    assert np.mean(inside) == pytest.approx(REGION, abs=0.005)


def test_without_a_covariance_nothing_is_drawn():
    ax = Figure().subplots()
    draw_ellipses(ax, np.zeros((2, 2)), None)
    assert not ax.patches


def test_an_ellipse_along_the_rows_points_from_columns_to_rows():
    (along_rows, along_columns) = error_ellipses(
        np.array([np.diag([4.0, 1.0]), np.diag([1.0, 4.0])])
    )
    reach = np.sqrt(-2 * np.log(1 - REGION))
    np.testing.assert_allclose(along_rows[:2], [2 * reach, reach])
    np.testing.assert_allclose(along_columns[:2], [2 * reach, reach])
    assert abs(np.sin(along_rows[2])) == pytest.approx(1)
    assert np.sin(along_columns[2]) == pytest.approx(0)


def test_surroundings_are_a_square_with_half_a_pixel_around_the_targets():
    assert surroundings(np.array([[5.0, 7.0]])) == (5.5, 8.5, 6.5, 3.5)
    left, right, bottom, top = surroundings(np.array([[0.0, 0.0], [4.0, 2.0]]))
    assert (right - left, bottom - top, left, top) == (9.0, 9.0, -3.5, -2.5)
