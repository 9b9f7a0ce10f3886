import math

import numpy as np
import pytest
from astropy.io import fits
from photutils.psf import GriddedPSFModel

from distax import DistaxError, Sensor
from distax.imaging.psf import MeasuredPsf, responses
from distax.imaging.psf_grid import PsfGrid
from distax.io.psf_grid_file import read_psf_grid, write_psf_grid
from distax.io.sensor_file import read_sensor, write_sensor

GRID = PsfGrid(
    rows=(0.0, 50.5, 120.0),
    columns=(10.0, 80.0),
    sigmas=((0.7, 0.8), (0.9, 1.0), (1.1, 0.75), (0.8, 0.85), (1.2, 0.9), (0.95, 1.05)),
)
PLACES = np.random.default_rng(3).uniform(-5, 125, (12, 2))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("grid") / "psf.fits"
    write_psf_grid(path, GRID)
    return path


def images(grid, place, corner):
    """Returns the image of a unit source in 13×13 pixels of the frame."""
    sigma, psf = grid.psf_at(*place)
    rows, columns = responses(place - corner, (13, 13), psf or sigma)
    return np.einsum("tr,tc->rc", np.asarray(rows, float), np.asarray(columns, float))


@pytest.mark.parametrize("place", PLACES)
def test_photutils_evaluates_a_written_grid_to_the_same_values(path, place):
    """They agree to a thousandth of the peak. Most of the difference is the terms left out."""
    model, read = GriddedPSFModel.read(path), read_psf_grid(path)
    corner = np.rint(place) - 6
    row, column = np.mgrid[0:13, 0:13]
    theirs = model.evaluate(column + corner[1], row + corner[0], 1.0, place[1], place[0])
    np.testing.assert_allclose(images(read, place, corner), theirs, atol=1e-3 * theirs.max())


def test_at_the_nodes_a_written_grid_has_the_gaussians(path):
    read = read_psf_grid(path)
    assert (read.rows, read.columns) == (GRID.rows, GRID.columns)
    np.testing.assert_allclose(read.sigmas, GRID.sigmas, atol=1e-5)
    for row in GRID.rows:
        for column in GRID.columns:
            place = np.array([row, column])
            own, other = (images(grid, place, place - 6.3) for grid in (GRID, read))
            np.testing.assert_allclose(other, own, atol=1e-5)


def test_measured_psfs_survive_their_file(path, tmp_path):
    read = read_psf_grid(path)
    write_psf_grid(tmp_path / "again.fits", read)
    again = read_psf_grid(tmp_path / "again.fits")
    assert (again.rows, again.columns) == (read.rows, read.columns)
    np.testing.assert_allclose(again.sigmas, read.sigmas, atol=1e-6)
    for first, second in zip(read.psfs, again.psfs, strict=True):
        np.testing.assert_allclose(second.samples, first.samples, atol=1e-6)


def test_a_sensor_file_may_name_a_grid(path, tmp_path):
    text = f'[sensor]\nsigma = 0.9\npsf_grid = "{path.name}"\n'
    beside = path.parent / "sensor.toml"
    beside.write_text(text)
    sensor = read_sensor(beside)
    assert sensor == Sensor(sigma=0.9, psf_grid=read_psf_grid(path))
    write_sensor(tmp_path / "whole.toml", sensor)
    assert read_sensor(tmp_path / "whole.toml") == sensor
    (tmp_path / "sensor.toml").write_text(text)
    with pytest.raises(DistaxError, match=r"psf\.fits: no such file"):
        read_sensor(tmp_path / "sensor.toml")


def changed(path, folder, change):
    """Writes a changed copy of a grid's file."""
    with fits.open(path) as parts:
        image = fits.PrimaryHDU(parts[0].data.copy(), parts[0].header.copy())
    image = change(image) or image
    image.writeto(folder / "changed.fits")
    return folder / "changed.fits"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda image: image.header.remove("NXPSFS"), "no grid of PSFs in the form STDPSF"),
        (lambda image: image.header.remove("JPSFY02"), "no grid of PSFs .* has NYPSFS"),
        (lambda image: image.header.update(NYPSFS=2), r"of shape \(6, .* for 2×2 nodes"),
        (lambda image: image.header.update(NXPSFS=1000000000), "NXPSFS is 1000000000, not a numb"),
        (lambda image: image.header.update(NXPSFS=0), "NXPSFS is 0, not a number from 1 to 99"),
        (lambda image: image.header.update(NXPSFS=True), "NXPSFS is True, not a number from 1"),
        (lambda image: image.header.update(NXPSFS="abc"), "NXPSFS is 'abc', not a number from"),
        (lambda image: image.header.update(NYPSFS=1 + 2j), r"NYPSFS is \(1\+2j\), not a number"),
        (lambda image: image.header.update(IPSFX01="a"), "IPSFX01 must be a finite number, got 'a"),
        (lambda image: image.header.update(JPSFY02=1 + 2j), "JPSFY02 must be a finite number, got"),
        (lambda image: image.header.update(JPSFY02=1e300), "JPSFY02 must be at most 3.4e\\+38"),
        (lambda image: image.header.update(IPSFX01=90.0), "columns of a PSF grid must rise"),
        (lambda image: fits.PrimaryHDU(image.data[:, 1:, 1:], image.header), "odd number of sampl"),
        (lambda image: fits.PrimaryHDU(0 * image.data, image.header), "hold no flux"),
        (lambda image: fits.PrimaryHDU(None, image.header), "an array of shape"),
    ],
)
def test_a_file_of_another_form_is_refused(path, tmp_path, change, message):
    with pytest.raises(DistaxError, match=rf"changed\.fits: .*{message}") as error:
        read_psf_grid(changed(path, tmp_path, change))
    assert "\n" not in str(error.value)


def no_work(*_, **__):
    raise AssertionError("the PSFs were taken apart")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 1501, 1501), "4×1501×1501 samples of PSFs, .* 401 along an axis"),
        ((25, 401, 401), "25×401×401 samples of PSFs, at most 4,000,000 in all"),
    ],
)
def test_too_many_samples_are_refused_before_they_are_read(tmp_path, monkeypatch, shape, message):
    """The header is whole and the pixels are a hole in the file, so reading them would be quick."""
    side = math.isqrt(shape[0])
    image = fits.PrimaryHDU(np.zeros((1, 1, 1), np.float32))
    image.header.update(NXPSFS=side, NYPSFS=side)
    for line in range(side):
        image.header.update({f"IPSFX{line + 1:02d}": line, f"JPSFY{line + 1:02d}": line})
    for axis, length in enumerate(shape[::-1], start=1):
        image.header[f"NAXIS{axis}"] = length
    with (tmp_path / "a.fits").open("wb") as file:
        file.write(image.header.tostring().encode())
        file.truncate(-(-(file.tell() + 4 * math.prod(shape)) // 2880) * 2880)
    monkeypatch.setattr(MeasuredPsf, "from_samples", no_work)
    with pytest.raises(DistaxError, match=rf"a\.fits: {message}"):
        read_psf_grid(tmp_path / "a.fits")


def test_a_grid_too_large_to_be_read_is_not_written(tmp_path):
    wide = PsfGrid((0.0, 9.0), (0.0, 9.0), ((11.0, 1.0),) * 4)
    with pytest.raises(DistaxError, match=r"4×445×445 samples of PSFs, .* cut the PSFs"):
        write_psf_grid(tmp_path / "a.fits", wide)
    assert not (tmp_path / "a.fits").exists()


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "a.fits").write_bytes(b"no FITS file")
    with pytest.raises(DistaxError, match=r"a\.fits: a truncated or damaged FITS file"):
        read_psf_grid(tmp_path / "a.fits")


def test_a_number_of_nodes_that_readers_split_is_refused(tmp_path):
    lines = tuple(float(10 * k) for k in range(6))
    with pytest.raises(DistaxError, match=r"takes 36 PSFs for those of several detectors, .* 6×6"):
        write_psf_grid(tmp_path / "a.fits", PsfGrid(lines, lines, ((1.0, 1.0),) * 36))
    assert not (tmp_path / "a.fits").exists()
