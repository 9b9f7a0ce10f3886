from dataclasses import replace

import jax
import numpy as np
import pytest

from distax import DistaxError, Sensor, Unmixer, make_targets, render
from distax.imaging.psf import MeasuredPsf, responses
from distax.imaging.psf_grid import PsfGrid

ROWS, COLUMNS = (0.0, 40.0, 100.0), (10.0, 60.0)
SIGMAS = ((0.7, 0.8), (0.9, 1.0), (1.1, 0.75), (0.8, 0.85), (1.2, 0.9), (0.95, 1.05))
GAUSSIANS = PsfGrid(ROWS, COLUMNS, SIGMAS)
PLACES = np.array([[0.0, 10.0], [12.3, 44.4], [40.0, 30.0], [99.0, 59.0], [-7.0, 80.0], [150, 0]])


def make_measured(sigmas):
    """Makes measured PSFs of two Gaussians each, one of them beside the target."""
    offset = (np.arange(65) - 32) / 4
    row, column = np.meshgrid(offset, offset, indexing="ij")
    return tuple(
        MeasuredPsf.from_samples(
            np.exp(-(row**2) / (2 * a**2) - column**2 / (2 * b**2))
            + 0.2 * np.exp(-((row - 0.3) ** 2 + column**2) / (4 * a * b)),
            4,
        )
        for a, b in sigmas
    )


MEASURED = replace(GAUSSIANS, psfs=make_measured(SIGMAS))


def interpolate(values, row, column):
    """Interpolates values at the nodes by the formula for the four corners of a cell."""
    row, column = np.clip(row, ROWS[0], ROWS[-1]), np.clip(column, COLUMNS[0], COLUMNS[-1])
    cell = 0 if row < ROWS[1] else 1
    v = (row - ROWS[cell]) / (ROWS[cell + 1] - ROWS[cell])
    u = (column - COLUMNS[0]) / (COLUMNS[1] - COLUMNS[0])
    a, b, c, d = (np.asarray(values[2 * cell + k]) for k in range(4))
    return (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d)


@pytest.mark.parametrize("place", PLACES.tolist())
def test_widths_and_samples_are_interpolated_bilinearly(place):
    at = np.array([place])
    np.testing.assert_allclose(GAUSSIANS.sigmas_at(at)[0], interpolate(SIGMAS, *place), rtol=1e-12)
    samples = [psf.samples for psf in MEASURED.psfs]
    np.testing.assert_allclose(
        MEASURED.samples_at(at)[0], interpolate(samples, *place), rtol=1e-9, atol=1e-12
    )


def image(psf, place=(5.2, 4.7)):
    rows, columns = responses(np.array(place), (11, 11), psf)
    return np.einsum("tr,tc->rc", np.asarray(rows, float), np.asarray(columns, float))


@pytest.mark.parametrize("grid", [GAUSSIANS, MEASURED])
def test_all_places_share_one_structure_and_each_has_its_psf(grid):
    together = grid.psfs_at(PLACES)
    structures = set()
    for k, place in enumerate(PLACES.tolist()):
        own = jax.tree.map(lambda leaf, k=k: jax.numpy.asarray(leaf[k]), together)
        structures.add(jax.tree.structure(own))
        sigma, psf = grid.psf_at(*place)
        # The terms that are left out hold a thousandth of the PSF.
        limit = 1e-6 if psf is None else 2e-3 * image(psf).max()
        np.testing.assert_allclose(image(own), image(psf or sigma), atol=limit)
        assert psf is None or image(own).sum() == pytest.approx(1.0, abs=2e-3)
    assert len(structures) == 1


def test_a_mirrored_grid_has_mirrored_psfs():
    size = 110
    mirrored = PsfGrid(
        rows=tuple(size - 1 - row for row in ROWS[::-1]),
        columns=COLUMNS,
        sigmas=tuple(SIGMAS[2 * row + column] for row in (2, 1, 0) for column in (0, 1)),
    )
    there = np.stack([size - 1 - PLACES[:, 0], PLACES[:, 1]], axis=1)
    np.testing.assert_allclose(mirrored.sigmas_at(there), GAUSSIANS.sigmas_at(PLACES), rtol=1e-12)


def test_a_grid_of_equal_psfs_is_one_psf():
    sigma, psf = (0.7, 0.8), MEASURED.psfs[0]
    constant = PsfGrid(ROWS, COLUMNS, (sigma,) * 6, (psf,) * 6)
    assert constant.constant
    assert not MEASURED.constant
    assert constant.psf_at(31.0, 17.0)[1] == psf
    assert replace(constant, psfs=()).psf_at(31.0, 17.0) == (sigma, None)
    assert (GAUSSIANS.widest, GAUSSIANS.narrowest) == ((1.2, 1.05), (0.7, 0.75))


def test_gaps_are_measured_in_distances_between_nodes():
    assert GAUSSIANS.gaps((101, 61)) == (0.0, 0.2)
    assert GAUSSIANS.gaps((131, 111)) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": (0.0, 100.0, 40.0)}, "rows of a PSF grid must rise .* got 0, 100, 40; sort"),
        ({"columns": (10.0, 10.0)}, "columns of a PSF grid must rise"),
        ({"columns": (10.0,)}, "at least two columns of nodes, got 1"),
        ({"sigmas": SIGMAS[:5]}, "of 3×2 nodes needs 6 sigmas, got 5"),
        ({"sigmas": ()}, "needs 6 sigmas, got 0"),
        ({"psfs": MEASURED.psfs[:5]}, "needs 6 psfs, got 5"),
        ({"sigmas": ((0.7, -0.8), *SIGMAS[1:])}, "sigmas must be greater than 0, got -0.8"),
        ({"rows": (0.0, float("nan"), 100.0)}, "rows must be a finite number"),
        (
            {"psfs": (MeasuredPsf(4, ((1.0,) * 3,), ((1.0,) * 3,)), *MEASURED.psfs[1:])},
            "as many samples a pixel and along an axis, got .*3 samples, 4 a pixel",
        ),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(DistaxError, match=message):
        replace(GAUSSIANS, **changes)


@pytest.mark.parametrize("grid", [GAUSSIANS, MEASURED])
def test_a_sensor_has_the_psf_of_a_place(grid):
    sensor = Sensor(psf_grid=grid, read_noise=2.0)
    assert sensor.widest_sigma == 1.2
    there = sensor.at(12.0, 30.0)
    sigma, psf = grid.psf_at(12.0, 30.0)
    assert there == Sensor(sigma=sigma, measured_psf=psf, read_noise=2.0)
    assert there.at(0.0, 0.0) == there
    assert sensor.with_psf(0.6) == Sensor(sigma=0.6, read_noise=2.0)
    assert sensor.with_psf(MEASURED.psfs[0]).psf == MEASURED.psfs[0]


def test_an_image_without_a_place_is_refused():
    sensor = Sensor(psf_grid=GAUSSIANS)
    advice = r"varies over its frames .* take sensor\.at\(row, column\)"
    for call in (
        lambda: render(make_targets(np.zeros((1, 2)), np.ones(1)), sensor),
        lambda: Unmixer(sensor=sensor),
        lambda: Unmixer(sensor=sensor, method="refine"),
        lambda: sensor.sampling_matrix(3),
    ):
        with pytest.raises(DistaxError, match=advice):
            call()
    with pytest.raises(DistaxError, match="measured_psf and psf_grid are both the PSF"):
        Sensor(psf_grid=GAUSSIANS, measured_psf=MEASURED.psfs[0])
