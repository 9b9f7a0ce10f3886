import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax.imaging.windows import blob_pixel


def blob_pixel_of(image, reach):
    """The pixel by its definition, with loops over pixels."""
    height, width = image.shape

    def total(row, column):
        return image[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2].sum()

    boxes = [[total(row, column) for column in range(width)] for row in range(height)]
    pixel = np.array(np.unravel_index(np.argmax(boxes), image.shape))
    for _ in range(2):
        flux, moment = 1e-6, np.zeros(2)
        for row in range(max(pixel[0] - reach, 0), min(pixel[0] + reach + 1, height)):
            for column in range(max(pixel[1] - reach, 0), min(pixel[1] + reach + 1, width)):
                light = max(image[row, column], 0.0)
                flux += light
                moment += light * np.array([row - pixel[0], column - pixel[1]])
        shift = np.round(moment / flux).astype(int)
        pixel = np.clip(pixel + shift, 0, np.array(image.shape) - 1)
    return pixel


@pytest.mark.parametrize("reach", [2, 5])
def test_the_blob_pixel_is_the_centroid_around_the_centroid(reach):
    rng = np.random.default_rng(reach)
    images = rng.gamma(0.3, 100.0, (40, 9, 12)) - 5.0
    found = jax.vmap(lambda image: blob_pixel(image, reach))(jnp.float32(images))
    np.testing.assert_array_equal(found, [blob_pixel_of(image, reach) for image in images])


def test_a_wide_blob_is_located_by_all_of_its_light():
    image = np.zeros((15, 15))
    image[7, 2], image[7, 6], image[7, 11] = 100.0, 60.0, 90.0
    assert blob_pixel(jnp.float32(image)).tolist() == [7, 2]
    # Of 250 counts: 100 at 2, 60 at 6, 90 at 11.
    assert blob_pixel(jnp.float32(image), reach=9).tolist() == [7, 6]
