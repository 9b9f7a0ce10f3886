import numpy as np
import pytest
from matplotlib.figure import Figure

from distax.viz.overlays import REGION, draw_ellipses


def test_ellipses_hold_the_stated_share_of_gaussian_errors():
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
