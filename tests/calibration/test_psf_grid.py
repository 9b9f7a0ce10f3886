import jax
import numpy as np
import pytest

from distax import DistaxError, Sensor
from distax.calibration import calibrate
from distax.frames.simulation import FrameScene, simulate_frame
from distax.imaging.psf_grid import PsfGrid

SIDE = 192
LINES = (0.0, 95.5, 191.0)
SIGMAS = tuple(
    (0.6 + 0.1 * r + 0.02 * c, 0.7 + 0.05 * c - 0.03 * r) for r in (0, 1, 2) for c in (0, 1, 2)
)
GRID = PsfGrid(LINES, LINES, SIGMAS)
CAMERA = Sensor(
    sigma=0.7,
    saturation=None,
    bit_depth=16,
    read_noise=2.0,
    gain=2.0,
    background=100.0,
    psf_grid=GRID,
)
SCENE = FrameScene(
    height=SIDE,
    width=SIDE,
    clusters=0,
    stars=70,
    star_intensity=(2000.0, 30000.0),
    gradient=0.0,
    bad_pixels=0.0,
)


@pytest.fixture(scope="module")
def frames():
    return np.stack([simulate_frame(jax.random.key(k), SCENE, CAMERA)[0] for k in range(3)])


@pytest.fixture(scope="module")
def measured(frames):
    return calibrate(frames, psf_grid=(3, 3))


def test_every_node_is_measured_within_its_error(measured):
    grid = measured.sensor.psf_grid
    assert (grid.rows, grid.columns) == (LINES, LINES)
    error, std = np.subtract(grid.sigmas, SIGMAS), np.array([node.std for node in measured.nodes])
    assert np.abs(error / std).max() < 3.5
    assert 0.5 < np.sqrt(np.mean((error / std) ** 2)) < 1.4
    assert std.max() < 0.02
    assert [(node.row, node.column) for node in measured.nodes] == [
        (row, column) for row in LINES for column in LINES
    ]
    assert sum(node.sources for node in measured.nodes) == measured.used
    assert measured.quantities["psf_grid"].value == grid
    assert measured.quantities["psf_grid"].std == tuple(std.max(axis=0).tolist())
    assert measured.sensor.sigma == tuple(np.mean(grid.sigmas, axis=0).tolist())


def test_the_noise_is_not_that_of_a_wrong_psf(measured):
    for name in ("read_noise", "gain"):
        quantity = measured.quantities[name]
        assert abs(quantity.value - getattr(CAMERA, name)) < 3.5 * quantity.std
    assert measured.gaussian


def test_close_pairs_are_rejected(frames, measured):
    """Twelve sources get a neighbour of two thirds of their light 0.8 px away."""
    twin = np.array(frames)
    peaks = np.argwhere(twin[0, 8:-8, 8:-8] > 1500)[:12] + 8
    for row, column in peaks:
        box = np.s_[row - 4 : row + 5, column - 4 : column + 5]
        light = frames[0][box] - 100
        shifted = 0.2 * light + 0.8 * np.roll(light, 1, axis=1)
        twin[0][box] += np.round(0.7 * shifted)
    other = calibrate(twin, psf_grid=(3, 3))
    assert other.rejected > measured.rejected
    away = np.subtract(other.sensor.psf_grid.sigmas, measured.sensor.psf_grid.sigmas)
    assert np.abs(away).max() < 4 * np.max([node.std for node in other.nodes])


def test_mirrored_frames_have_a_mirrored_grid(frames, measured):
    upside = calibrate(frames[:, ::-1], psf_grid=(3, 3)).sensor.psf_grid
    expected = [measured.sensor.psf_grid.sigmas[3 * r + c] for r in (2, 1, 0) for c in (0, 1, 2)]
    np.testing.assert_allclose(upside.sigmas, expected, atol=2e-3)


@pytest.mark.parametrize(
    ("size", "changes", "message"),
    [
        (1, {"psf_grid": (1, 3)}, "at least two rows and two columns of nodes, got 1×3"),
        (1, {"psf_grid": (3, 3), "measured_psf": True}, "leave out measured_psf or psf_grid"),
        (
            1,
            {"psf_grid": (6, 6)},
            r"the node of the PSF grid at row \d+, column \d+ has \d isolated sources near it, and "
            "needs 5: give more frames, or a grid of fewer nodes",
        ),
        (8, {"psf_grid": (3, 3)}, "is measured in whole frames, and the images have 24×24 px"),
    ],
)
def test_a_grid_that_cannot_be_measured_is_refused(frames, size, changes, message):
    part = frames[:1, : SIDE // size, : SIDE // size]
    with pytest.raises(DistaxError, match=message):
        calibrate(part, **changes)
