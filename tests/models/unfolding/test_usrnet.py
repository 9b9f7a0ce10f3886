import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax.models.unfolding.usrnet import data_step


def by_fourier_transforms(grid, image, weight, factor):
    """Solves one image by the paper's closed form."""
    size = len(grid)
    gaussian = np.exp(-2.0 * np.arange(-1, 2) ** 2)
    kernel = np.zeros((size, size))
    kernel[:3, :3] = np.outer(gaussian, gaussian) / gaussian.sum() ** 2
    transfer = np.fft.fft2(np.roll(kernel, (-1, -1), (0, 1)))
    spread = np.zeros((size, size))
    spread[::factor, ::factor] = image

    def over_aliases(spectrum):
        coarse = size // factor
        mean = spectrum.reshape(factor, coarse, factor, coarse).mean((0, 2))
        return np.tile(mean, (factor, factor))

    both = np.conj(transfer) * np.fft.fft2(spread) + np.fft.fft2(weight * grid)
    ratio = over_aliases(transfer * both) / (over_aliases(np.abs(transfer) ** 2) + weight)
    return np.fft.ifft2((both - np.conj(transfer) * ratio) / weight).real


@pytest.mark.parametrize("factor", [3, 5])
def test_the_data_step_is_the_papers(factor):
    image = jax.random.uniform(jax.random.key(0), (1, 7, 7))
    grid = jax.random.normal(jax.random.key(1), (1, 7 * factor, 7 * factor))
    found = data_step(grid, image, jnp.array(0.3), factor)
    expected = by_fourier_transforms(np.asarray(grid[0]), np.asarray(image[0]), 0.3, factor)
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-5)
