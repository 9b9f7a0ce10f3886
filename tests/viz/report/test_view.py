import io
import json
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from distax import Sensor, make_targets, render
from distax.frames import Flag
from distax.viz.ellipses import REGION
from distax.viz.report import frame_view, image_views
from tests.viz.made_up import answer, picture, scattered

PLACE = [[10.0, 10.2], [10.3, 9.8], [30.1, 40.0]]


def opened(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def test_a_frames_view_says_where_each_targets_close_up_is():
    found = answer(PLACE, [0, 0, 1], [[10, 10], [30, 40]], (60, 50), flags=[Flag.UNSURE, 0, 0])
    view = frame_view(picture(found, closeups=1))
    assert view.names == ["Blob 1: 1 target"]
    assert view.closeup.tolist() == [-1, -1, 0]
    assert view.corner.tolist() == [[25, 35]]
    assert view.doubt.tolist() == [2, 0, 0]
    assert view.order.tolist() == [1, 2, 0]
    assert view.extent == (60, 50)
    # A round Gaussian of 0.1 px.
    radius = 0.1 * np.sqrt(-2 * np.log(1 - REGION))
    np.testing.assert_allclose(view.ellipse[:, :2], radius)
    assert [opened(png).shape[:2] for png in (view.overview, *view.sheets)] == [
        (60, 50),
        *[(11, 11)] * 3,
    ]
    content = json.loads(json.dumps(view.content))
    assert content["side"] == [11, 11]
    assert content["across"] == 1
    assert set(view.pictures) == {"overview", "data", "model", "residual"}


def test_pixels_beyond_the_frame_are_transparent():
    found = answer([[0.0, 0.0]], [0], [[0, 0]], (60, 50))
    data, model, residual = map(opened, frame_view(picture(found)).sheets)
    for pixels in (data, model, residual):
        assert (pixels[:5, :, 3] == 0).all()
        assert (pixels[5:, 5:, 3] == 255).all()


def test_noise_alone_makes_no_large_file():
    view = frame_view(picture(scattered(400, (300, 400)), closeups=400))
    # Less than a byte a pixel, where each could take three.
    assert len(view.overview) < 0.7 * 300 * 400
    assert sum(map(len, view.sheets)) < 3 * 0.8 * 400 * 11**2
    assert view.size == len(view.overview) + sum(map(len, view.sheets))


@pytest.fixture(scope="module")
def images():
    sensor = Sensor()
    found = make_targets(
        jnp.float32([[[5.2, 4.7], [3, 3]]] * 3),
        jnp.full((3, 2), 240.0),
        jnp.array([[True, False]] * 3),
    )
    found = replace(found, trusted=np.array([True, False, True]))
    exact = np.minimum(np.array(render(found, sensor)), 255)
    exact[2, 0, 0] = np.nan
    return exact, found, sensor


def test_a_view_an_image_the_same_whenever_it_is_made(images):
    names = ["Image 0", "Image 1", "Image 4"]
    views, again = (list(image_views(*images, names)) for _ in range(2))
    assert [view.sheets for view in views] == [view.sheets for view in again]
    assert [view.names for view in views] == [[f"{name}: 1 target"] for name in names]
    assert [view.doubt.tolist() for view in views] == [[0], [2], [0]]
    assert views[0].overview is None
    assert views[0].closeup.tolist() == [0]
    assert views[0].extent == views[0].side == (11, 11)


def test_an_images_residual_has_the_unit_of_its_noise(images):
    exact, found, sensor = images
    # Rounding to whole counts has a standard deviation of 1/√12.
    off = exact.copy()
    off[0, 8, 8] += 5 / np.sqrt(12)
    first, _, last = image_views(off, found, sensor, ["a", "b", "c"])
    residual = opened(first.sheets[2])[..., :3].astype(int)
    assert residual[8, 8].tolist() == [0xB2, 0x18, 0x2B]
    residual[8, 8] = 0xF7
    assert np.abs(residual - 0xF7).max() < 8
    assert opened(last.sheets[0])[0, 0, 3] == 0
