"""Width of the PSF from a frame's own blobs, against frames whose width is known."""

import re
import warnings
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxWarning, Sensor, make_targets, render
from distax.frames import FramePrior, FrameUnmixer
from distax.frames.psf import (
    NOT_MEASURED,
    MeasuredWidth,
    PsfCheck,
    format_sigma,
    measure_width,
)

CAMERA = Sensor(saturation=None, bit_depth=None)
NOISE = 2.0


def scene(sigma, groups, spacing, flux, seed=0):
    """Renders groups of targets on a square lattice, each off its node by up to half a pixel.

    Args:
      sigma: width of the PSF in pixels.
      groups: offsets in pixels of the targets of each group from its place.
      spacing: distance in pixels between neighbouring nodes.
      flux: flux of a target in counts.
    """
    side = int(np.ceil(np.sqrt(len(groups))))
    rng = np.random.default_rng(seed)
    place = spacing * (np.stack(divmod(np.arange(len(groups)), side), axis=-1) + 0.5)
    place = place + rng.uniform(-0.5, 0.5, place.shape)
    position = np.concatenate([at + group for at, group in zip(place, groups, strict=True)])
    length = side * spacing
    targets = make_targets(jnp.float32(position), jnp.full(len(position), flux))
    ideal = render(targets, Sensor(height=length, width=length, sigma=sigma))
    return np.asarray(ideal) + NOISE * rng.standard_normal((length, length))


def stars(sigma, number=9, flux=None, seed=0):
    widest = np.max(sigma)
    spacing = 16 if widest < 1.4 else 40
    return scene(sigma, [np.zeros((1, 2))] * number, spacing, flux or 2000.0 * widest, seed)


def measure(counts, unit=1.0, sensor=CAMERA):
    noise = np.full(counts.shape, NOISE * unit)
    return measure_width(unit * counts, noise, np.zeros(counts.shape, bool), sensor)


@pytest.mark.parametrize("sigma", [0.4, 0.5, 1.3, 2.0, 5.0, (0.6, 0.8)])
def test_stars_show_the_width_of_the_psf(sigma):
    width, truth = measure(stars(sigma)), np.broadcast_to(sigma, 2)
    assert width.agreeing == width.isolated == 9
    assert (np.abs(np.array(width.sigma) - truth) < 4 * np.array(width.std)).all()
    assert (np.array(width.std) < 0.02 * truth).all()
    np.testing.assert_allclose(width.suggested, sigma, rtol=0.02)
    assert not width.contradicts(replace(CAMERA, sigma=sigma))
    assert width.contradicts(replace(CAMERA, sigma=1.1 * truth[0]))


def test_the_unit_of_counts_does_not_matter():
    counts = stars(1.3)
    expected, found = measure(counts), measure(counts, unit=1e-6)
    np.testing.assert_allclose(found.sigma, expected.sigma, rtol=1e-4)
    np.testing.assert_allclose(found.std, expected.std, rtol=1e-3)


def test_clusters_faint_stars_few_stars_and_hot_pixels_do_not_pass_for_stars():
    rng = np.random.default_rng(3)
    clusters = [rng.uniform(-0.5, 0.5, (number, 2)) for number in (2, 3, 4, 5, 2, 3, 4, 5, 2)]
    width = measure(scene(0.5, clusters, 16, 2000.0))
    assert not width.contradicts(replace(CAMERA, sigma=0.5))
    assert width.suggested is None or width.suggested < 0.5 * 1.05
    assert measure(stars(1.3, flux=100.0)) == NOT_MEASURED
    few = measure(stars(1.3, number=4))
    assert (few.sigma, few.isolated) == (None, 4)
    hot = NOISE * rng.standard_normal((60, 60))
    hot[5::12, 5::12] += 500.0
    assert measure(hot) == NOT_MEASURED


def test_most_of_the_blobs_decide():
    """Three pairs and a neighbour do not change the width of nine stars."""
    groups = [np.zeros((1, 2))] * 9 + [np.array([[0.0, 0.0], [1.5, 0.5]])] * 3
    width = measure(scene(1.0, groups, 16, 3000.0))
    assert width.agreeing == 9
    np.testing.assert_allclose(width.sigma, 1.0, rtol=0.02)


def test_a_psf_that_varies_over_the_frame_is_measured_where_clusters_are_no_explanation():
    counts = np.concatenate([stars(s, 3, flux=4000.0)[:16] for s in (1.24, 1.3, 1.36)])
    assert measure(counts).suggested == pytest.approx(1.3, rel=0.03)
    assert measure(counts, sensor=replace(CAMERA, sigma=1.1)).sigma is None


UNMIXER = FrameUnmixer(sensor=CAMERA, prior=FramePrior(max_targets=2, cluster=1.0))


def test_a_frame_without_a_given_width_takes_that_of_its_stars():
    found = replace(UNMIXER, measure_psf=True)(100 + stars(0.7, 16))
    assert len(found.blob) == len(found.blobs.pixel) == 16
    assert found.psf.source == "measured"
    assert found.psf.sigma == pytest.approx(0.7, rel=0.01)
    assert found.psf.misfit == pytest.approx(1.0, abs=0.15)
    assert "measured from 16 of 16 isolated blobs; median misfit of 16 blobs" in found.psf.line


def test_a_given_width_that_the_blobs_contradict_is_warned_of_once():
    frame = 100 + stars(0.7, 16)
    with pytest.warns(DistaxWarning) as caught:
        found = UNMIXER(frame)
    (line,) = [str(warning.message) for warning in caught]
    pattern = r"16 of 16 isolated blobs show a PSF of sigma 0\.(69|70)\d* ± 0\.00\d px"
    assert re.match(pattern, line)
    assert "--frame.sigma" in line
    assert "distax calibrate" in line
    assert found.psf.contradicted
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agreed = replace(UNMIXER, sensor=replace(CAMERA, sigma=0.7))(frame)
    assert not agreed.psf.contradicted
    assert "0.7 px as given: 16 of 16 isolated blobs agree (0." in agreed.psf.line


def test_few_blobs_leave_the_default_and_say_so():
    found = replace(UNMIXER, measure_psf=True)(100 + stars(0.5, 2))
    assert found.psf.source == "default"
    assert found.psf.sigma == 0.5
    assert "sigma 0.5 px by default: 2 isolated bright blobs cannot measure it" in found.psf.line


@pytest.mark.parametrize(("sigma", "number"), [(1.3, 1), (1.3, 4), (2.0, 2), (0.35, 1)])
def test_a_few_stars_suggest_their_width_and_do_not_set_it(sigma, number):
    width = measure(stars(sigma, number))
    assert width.sigma is None
    assert width.isolated == number
    assert width.suspected == pytest.approx(sigma, rel=0.02)
    assert measure(stars(sigma, number), sensor=replace(CAMERA, sigma=sigma)).suspected is None


def test_wide_stars_between_edges_suggest_their_width():
    # Windows of 33 pixels do not fit between the stars and the edges.
    counts = scene(2.0, [np.zeros((1, 2))] * 4, 24, 3000.0)
    assert measure(counts).suspected == pytest.approx(2.0, rel=0.02)


def test_a_few_clusters_suggest_no_width():
    rng = np.random.default_rng(4)
    for number in (2, 3, 5):
        alone = measure(scene(0.5, [rng.uniform(-0.5, 0.5, (number, 2))], 24, 2000.0))
        assert alone.isolated == 1
        assert alone.suspected is None
    pair = measure(scene(0.5, [np.array([[-0.8, 0.0], [0.8, 0.0]])], 24, 2000.0))
    assert pair.suspected is None
    # Three stars that are wider alike are no clusters, one may be a cluster.
    assert measure(stars(0.62, 1)).suspected is None
    assert measure(stars(0.62, 3)).suspected == pytest.approx(0.62, rel=0.02)


def test_the_line_names_the_width_that_a_few_stars_suggest():
    found = replace(UNMIXER, measure_psf=True)(100 + stars(1.3, 2))
    pattern = r"by default: 2 .* cannot measure it; if they are single stars, give --frame\.sigma "
    number = re.search(pattern + r"(1\.\d+);", found.psf.line)
    assert float(number[1]) == pytest.approx(1.3, rel=0.02)
    given = replace(found.psf, source="given", measured=measure(stars(1.3, 1)))
    assert given.line.partition(";")[2].startswith(" if it is a single star, give --frame.sigma 1.")


def test_an_elongated_width_is_advised_for_a_sensor_file():
    seen = MeasuredWidth(sigma=(0.6, 0.8), std=(0.001, 0.001), agreeing=9, isolated=9)
    check = PsfCheck(
        sigma=0.5, source="given", measured=seen, contradicted=True, misfit=None, blobs=9
    )
    assert "give a sigma of 0.6×0.8 px (in a sensor file)" in check.advice


def test_widths_as_text_and_a_suggestion_for_a_sensor():
    assert format_sigma(1.30285) == format_sigma((1.30285, 1.3029)) == "1.303"
    assert format_sigma((0.6, 0.8)) == "0.6×0.8"
    width = MeasuredWidth(sigma=(1.0, 1.02), std=(0.001, 0.001), agreeing=9, isolated=9)
    assert width.suggested == pytest.approx(1.02**0.5)
    assert replace(width, sigma=(1.0, 1.1)).suggested == (1.0, 1.1)
