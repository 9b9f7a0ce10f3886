import numpy as np
import pytest

from distax.frames.spots import refine_spots
from distax.frames.templates import (
    KINDS,
    fit_templates,
    gaussian,
    make_templates,
    plane_of,
    squares_about_plane,
)

SIDE = 15
TEMPLATES = make_templates(SIDE, 0.5)
PLANE = np.array([7.0, -3.0, 2.0]) @ plane_of(SIDE**2)


def test_every_template_explains_its_own_window_and_a_slope_is_no_shape():
    counts = 40 * TEMPLATES.shape + PLANE
    weight = np.full(counts.shape, 0.25)
    fits = fit_templates(TEMPLATES, counts, weight)
    own = np.arange(len(counts))
    # Some corners lie outside of the window but for a trace.
    seen = fits.squares > 1e-3
    assert seen.mean() > 0.97
    np.testing.assert_allclose(fits.amplitude[own, own][seen], 40, rtol=1e-3)
    np.testing.assert_allclose(fits.explained[own, own][seen], fits.squares[seen], rtol=1e-3)
    best = fits.explained[np.arange(len(counts)), fits.explained.argmax(axis=1)]
    np.testing.assert_allclose(best[seen], fits.squares[seen], rtol=1e-3)
    plain = fit_templates(TEMPLATES, PLANE[None], weight[:1])
    assert plain.squares[0] < 1e-4
    assert squares_about_plane(PLANE[None], weight[:1])[0] < 1e-4


def test_dark_spots_and_lines_are_no_targets():
    counts = -40 * TEMPLATES.shape
    fits = fit_templates(TEMPLATES, counts, np.ones(counts.shape))
    dark = np.isin(TEMPLATES.kind, [KINDS.index(kind) for kind in ("point", "spot", "line")])
    own = np.flatnonzero(dark)
    assert (fits.explained[own, own] == 0).all()


def test_unknown_pixels_do_not_count():
    counts = 40 * TEMPLATES.shape[:1] + PLANE
    weight = np.ones(counts.shape)
    weight[0, :30] = 0.0
    counts[0, :30] = 1e6
    fits = fit_templates(TEMPLATES, counts, weight)
    assert fits.pixels[0] == SIDE**2 - 30
    assert fits.amplitude[0, 0] == pytest.approx(40, rel=1e-6)


def test_errors_of_spots_are_as_large_as_stated():
    random = np.random.default_rng(1)
    number = 300
    place = random.uniform(-0.6, 0.6, (number, 2))
    width = np.broadcast_to(random.uniform(0.8, 1.8, (number, 1)), (number, 2))
    flux, noise = 300.0, 2.0
    counts = flux * gaussian(SIDE, place, width) + PLANE
    counts = counts + noise * random.standard_normal(counts.shape)
    start = np.round(2 * place) / 2
    found = refine_spots(counts, np.full(counts.shape, noise**-2), start, 1.1 * width)
    assert np.sqrt(np.mean(((found.flux - flux) / found.flux_std) ** 2)) == pytest.approx(
        1, abs=0.15
    )
    error = found.width * (found.flux_std / found.flux)[:, None]
    # A free background and width add to the error of the flux, and less to that of the place.
    assert 0.6 < np.sqrt(np.mean(((found.place - place) / error) ** 2)) < 1.1
    assert np.mean(found.width / width) == pytest.approx(1, abs=0.02)
    freedom = SIDE**2 - 7
    assert np.mean(found.squares) == pytest.approx(freedom, rel=0.03)
