import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import Sensor
from distax.imaging.scenes import ScenePrior, simulate
from distax.models.density.view import look

POSES = [(turns, mirror) for turns in range(4) for mirror in (False, True)]


def pose(image, turns, mirror):
    image = np.rot90(image, turns)
    return image[:, ::-1] if mirror else image


@pytest.fixture(scope="module")
def scenes():
    return simulate(jax.random.key(0), 40)


def test_the_window_is_centred_on_the_host_pixel(scenes):
    images, truth = scenes
    view = look(images, 7)
    offset = np.abs(truth.position - view.centre[:, None])[np.asarray(truth.mask)]
    assert offset.max() <= 0.5 + 1e-5


def test_all_eight_poses_of_an_image_give_one_window(scenes):
    blob = np.zeros((9, 9), np.float32)
    blob[3:6, 3:6] = [[1, 2, 3], [4, 90, 30], [7, 8, 9]]
    images = jnp.array([pose(blob, *each) for each in POSES])
    windows = np.asarray(look(images, 5).window)
    for window in windows[1:]:
        np.testing.assert_array_equal(window, windows[0])


def test_under_an_elongated_psf_only_the_four_mirror_images_give_one_window():
    blob = np.zeros((9, 9), np.float32)
    blob[3:6, 3:6] = [[1, 2, 3], [4, 90, 30], [7, 8, 9]]
    mirrored = jnp.array([blob, blob[::-1], blob[:, ::-1], blob[::-1, ::-1]])
    view = look(mirrored, 5, transpose=False)
    assert not view.transposed.any()
    for window in np.asarray(view.window)[1:]:
        np.testing.assert_array_equal(window, view.window[0])
    turned = look(jnp.array(blob.T[None]), 5, transpose=False)
    np.testing.assert_array_equal(turned.window[0], view.window[0].T)


def test_outward_inverts_inward_and_positions_turn_with_the_pixels(scenes):
    images, truth = scenes
    view = look(images, 7)
    offset = view.inward(truth.position)
    np.testing.assert_allclose(view.outward(offset), truth.position, atol=1e-6)
    for image, window, centre, flips, transposed in zip(
        images, view.window, view.centre, view.mirrored, view.transposed, strict=True
    ):
        row, column = map(int, centre)
        cut = np.pad(image, 3)[row : row + 7, column : column + 7]
        cut = cut[:: -1 if flips[0] else 1, :: -1 if flips[1] else 1]
        np.testing.assert_array_equal(window, cut.T if transposed else cut)


def test_covariances_turn_with_the_positions(scenes):
    view = look(scenes[0], 7)
    steps = jax.random.normal(jax.random.key(1), (40, 3, 2))
    moved = view.outward(steps) - view.outward(jnp.zeros_like(steps))
    outer = steps[..., :, None] * steps[..., None, :]
    np.testing.assert_allclose(
        view.outward_covariance(outer), moved[..., :, None] * moved[..., None, :], atol=1e-5
    )


def test_what_lies_outside_the_window_or_the_image_is_told_apart():
    image = np.zeros((1, 9, 9), np.float32)
    image[0, 1, 4], image[0, 8, 4] = 100, 3
    view = look(jnp.array(image), 5)
    assert view.centre[0].tolist() == [1, 4]
    assert float(view.beyond[0]) == 9
    assert int(view.real.sum()) == 5 * 4
    assert not np.asarray(view.window)[~np.asarray(view.real)].any()


@pytest.mark.parametrize("read_noise", [1.0, 3.0])
def test_noise_does_not_draw_the_window_to_the_middle(read_noise):
    sensor = Sensor(height=21, width=21, read_noise=read_noise, background=50.0)
    images, truth = simulate(jax.random.key(1), 100, sensor, ScenePrior(max_targets=1))
    centre = look(images - 50, 7).centre
    np.testing.assert_array_less(np.abs(centre - truth.position[:, 0]), 0.75)


def test_without_noise_the_window_is_centred_on_the_centroid_of_all_flux(scenes):
    images = np.asarray(scenes[0], float)
    rows, columns = np.indices(images.shape[1:])
    flux = images.sum(axis=(1, 2))
    centroid = [(images * axis).sum(axis=(1, 2)) / flux for axis in (rows, columns)]
    assert np.abs(np.stack(centroid, axis=1) - look(scenes[0], 7).centre).max() <= 0.5 + 1e-5


def test_a_dark_image_has_a_window():
    view = look(jnp.zeros((1, 9, 9)), 5)
    assert view.centre[0].tolist() == [0, 0]


def test_under_a_measured_psf_every_pose_is_its_own():
    blob = jnp.arange(49.0).reshape(1, 7, 7)
    for image in (blob, blob[:, ::-1], blob[:, :, ::-1], blob.swapaxes(1, 2)):
        view = look(image, 5, mirror=False, transpose=False)
        row, column = np.asarray(view.centre[0], int)
        cut = jnp.pad(image[0], 2)[row : row + 5, column : column + 5]
        np.testing.assert_array_equal(view.window[0], cut)
        assert not view.mirrored.any()
        assert not view.transposed.any()
