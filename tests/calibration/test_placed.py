import numpy as np

from distax.calibration.placed import images_of, step_of


def test_images_under_the_waves_of_a_gaussian_are_those_of_the_imaging_model(sources, waves):
    """The pixels of the fixture were made by waves: the Gaussian's own integral is the oracle."""
    from distax.imaging.psf import pixel_response

    row, column, flux, level = sources.parameters
    down, across = (
        np.asarray(pixel_response(place + 4, 9, sigma))
        for place, sigma in ((row, 0.7), (column, 0.8))
    )
    ideal = (flux[:, None, None] * down[:, :, None] * across[:, None]).reshape(6, -1).T + level
    np.testing.assert_allclose(sources.patch.counts, ideal, atol=1e-3 * flux.max())


def test_nothing_is_left_of_sources_where_they_are(sources, waves):
    shape = images_of(waves.at(sources.offsets()), waves.gaussian(0.7, 0.8))
    residual, weight = sources.left(shape)
    np.testing.assert_allclose(residual, 0.0, atol=1e-3)
    variance = np.asarray(sources.patch.variance + 1 / 12).T.reshape(shape.shape)
    np.testing.assert_allclose(weight, 1 / variance, rtol=1e-5)


def test_steps_lead_back_to_where_the_sources_are(sources, waves):
    away = np.array([0.05, -0.06, 80.0, 3.0])[:, None] * np.array([1, -1, 1, -1, 1, -1])
    amplitudes, found = waves.gaussian(0.7, 0.8), sources.stepped(away)
    for _ in range(4):
        found = found.stepped(step_of(found, amplitudes, waves))
    np.testing.assert_allclose(found.parameters[:2], sources.parameters[:2], atol=1e-5)
    np.testing.assert_allclose(found.parameters[2:], sources.parameters[2:], rtol=1e-4)
