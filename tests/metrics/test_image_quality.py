import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError
from distax.metrics import psnr, ssim


def to_8bit(grid):
    return np.clip(grid, 0, 255).astype(np.uint8).astype(float)


def naive_psnr(grid, truth):
    mean_square = np.mean((to_8bit(grid) - to_8bit(truth)) ** 2)
    return 100.0 if mean_square == 0 else 10 * np.log10(255**2 / mean_square)


def naive_ssim(grid, truth):
    """Averages equation 13 of Wang et al. 2004 over all 7×7 windows inside; unbiased variances."""
    x, y = to_8bit(grid), to_8bit(truth)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for i in range(x.shape[0] - 6):
        for j in range(x.shape[1] - 6):
            a, b = x[i : i + 7, j : j + 7].ravel(), y[i : i + 7, j : j + 7].ravel()
            (var_a, cov), (_, var_b) = np.cov(a, b, ddof=1)
            luminance = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
            values.append(luminance * (2 * cov + c2) / (var_a + var_b + c2))
    return np.mean(values)


@pytest.fixture(scope="module")
def pairs():
    """Grids and truths: noise, equal, bright and nearly flat, opposite, far outside 0..255."""
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 256, (5, 9, 11))
    truth[2] = 250 + rng.uniform(0, 2, (9, 11))
    noise = rng.uniform(-1, 1, (5, 9, 11))
    grid = truth + noise * np.array([300, 5, 3, 0, 2000])[:, None, None]
    grid[3] = 255 - truth[3]
    return np.float32(grid), np.float32(truth)


@pytest.mark.parametrize(("metric", "naive"), [(psnr, naive_psnr), (ssim, naive_ssim)])
def test_agrees_with_a_loop(metric, naive, pairs):
    expected = [naive(grid, truth) for grid, truth in zip(*pairs, strict=True)]
    np.testing.assert_allclose(metric(*map(jnp.asarray, pairs)), expected, rtol=1e-5)


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize("name", ["cso_map_c3", "cso_map_c5_empty_images"])
def test_agrees_with_the_published_implementation(name, metric, reference):
    arrays = reference(name)
    value = metric(jnp.asarray(arrays["prediction"]), jnp.asarray(arrays["label"]))
    np.testing.assert_allclose(jnp.mean(value), arrays[metric.__name__], rtol=1e-6)


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_is_the_same_vmapped_and_jitted(metric, pairs):
    pairs = tuple(map(jnp.asarray, pairs))
    batched = metric(*pairs)
    np.testing.assert_allclose(jax.vmap(metric)(*pairs), batched, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(metric)(*pairs), batched, rtol=1e-6)


def test_grids_alike_after_conversion_to_8_bit_are_identical():
    truth = jnp.full((8, 8), 10.0).at[0, 0].set(0.0).at[1, 1].set(255.0)
    grid = jnp.full((8, 8), 10.99).at[0, 0].set(-40.0).at[1, 1].set(700.0)
    np.testing.assert_allclose(psnr(grid, truth), 100.0)
    np.testing.assert_allclose(ssim(grid, truth), 1.0, rtol=1e-6)


def test_psnr_of_one_grey_level():
    truth = jnp.full((8, 8), 10.0)
    np.testing.assert_allclose(psnr(truth + 1, truth), 20 * np.log10(255), rtol=1e-6)


@pytest.mark.parametrize(
    ("metric", "shapes", "message"),
    [
        (ssim, [(3, 9), (3, 9)], "grids of 3×9 nodes are too small for the window of 7×7"),
        (ssim, [(9, 9), (9, 8)], r"shape \(9, 9\) cannot be compared with one of \(9, 8\)"),
        (psnr, [(9, 9), (9, 1)], r"shape \(9, 9\) cannot be compared with one of \(9, 1\)"),
        (psnr, [(9,), (9,)], r"shape \(9,\) cannot be compared"),
    ],
)
def test_grids_that_cannot_be_compared_are_refused(metric, shapes, message, any_types):
    with pytest.raises(DistaxError, match=message):
        metric(*map(jnp.zeros, shapes))
