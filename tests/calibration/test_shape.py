import numpy as np
import pytest

from distax.calibration.placed import images_of
from distax.calibration.shape import information_of, pull_of, settled


def test_normal_equations_are_those_of_all_waves_in_all_pixels(sources, waves):
    """Against the design matrix, of the sources that tell of the PSF."""
    rng = np.random.default_rng(1)
    functions, weight = waves.at(sources.offsets()), rng.uniform(0.5, 2.0, (6, 9, 9))
    residual = rng.standard_normal((6, 9, 9))
    rows, columns = functions
    design = np.einsum("n,nib,njc->nijbc", sources.parameters[2], rows, columns)
    design = design[:5, ..., waves.resolved].reshape(5 * 81, -1)
    weights = weight[:5].reshape(-1, 1)
    found = information_of(sources, functions, weight, waves)
    np.testing.assert_allclose(found, design.T @ (weights * design), rtol=1e-9, atol=1e-3)
    pull = pull_of(sources, functions, weight * residual, waves)
    np.testing.assert_allclose(
        pull, design.T @ (weights[:, 0] * residual[:5].ravel()), rtol=1e-9, atol=1e-6
    )


def test_a_settled_psf_has_all_flux_and_the_images_stay(sources, waves):
    """Here a hundredth more, and with wings that pass for background."""
    amplitudes = 1.01 * waves.gaussian(0.7, 0.8)
    with_wings = sources.stepped(np.stack([*np.zeros((3, 6)), 1e-3 * sources.parameters[2]]))
    functions = waves.at(sources.offsets())
    found, after = settled(amplitudes, with_wings, waves)
    assert found[0, 0] * waves.area == pytest.approx(1.0)
    images = [
        part.flux * images_of(functions, psf) + part.parameters[3, :, None, None]
        for part, psf in ((with_wings, amplitudes), (after, found))
    ]
    np.testing.assert_allclose(*images, rtol=1e-9)
    # Of five levels and fluxes, the part that goes with the flux is the PSF's now.
    flux, level = after.parameters[2:, :5]
    assert abs(np.polyfit(flux, level, 1)[0]) < 1e-4
