import io

import jax.numpy as jnp
import numpy as np
from PIL import Image

from distax import Sensor, make_targets, render
from distax.viz.report import image_pictures


def test_a_picture_an_image_the_same_whenever_it_is_drawn():
    sensor = Sensor()
    found = make_targets(jnp.float32([[[5.2, 4.7]]] * 3), jnp.full((3, 1), 240.0))
    images = np.asarray(render(found, sensor))
    pictures, again = (list(image_pictures(images[:2], found, sensor)) for _ in range(2))
    assert [picture.png for picture in pictures] == [picture.png for picture in again]
    assert [picture.alternative for picture in pictures] == [
        "An image, 1 target found, and its residual"
    ] * 2
    with Image.open(io.BytesIO(pictures[0].png)) as picture:
        assert picture.size == (13 * 90, 4 * 90)
