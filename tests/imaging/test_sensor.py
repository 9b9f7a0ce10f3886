import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import DistaxError, Sensor, expose, make_targets, render
from distax.imaging.psf import pixel_response
from distax.imaging.sensor import node_coordinates

IMAGING = ["imaging_sigma0.50", "imaging_sigma0.80"]
# Neither square nor of odd size on both axes: rows and columns cannot be swapped unnoticed.
OBLONG = Sensor(height=6, width=9, sigma=0.6)
ELONGATED = Sensor(height=6, width=9, sigma=(0.4, 0.8))
IDEAL = Sensor(saturation=None, bit_depth=None)


@pytest.mark.parametrize("name", IMAGING)
def test_render_agrees_with_numerical_integration(name, reference, true_targets):
    arrays = reference(name)
    image = render(true_targets(arrays), Sensor(sigma=float(arrays["sigma_psf"])))
    assert image.dtype == jnp.float32
    np.testing.assert_allclose(image, arrays["image"], rtol=0, atol=1e-5 * arrays["image"].max())


@pytest.mark.parametrize("name", IMAGING)
def test_render_in_float64_agrees_with_numerical_integration(name, reference, true_targets):
    arrays = reference(name)
    with jax.enable_x64(True):
        targets = true_targets(arrays, np.float64)
        image = render(targets, Sensor(sigma=float(arrays["sigma_psf"])))
    assert image.dtype == jnp.float64
    np.testing.assert_allclose(image, arrays["image"], rtol=0, atol=1e-12 * arrays["image"].max())


def test_sampling_matrix_agrees_with_numerical_integration(reference):
    arrays = reference("sampling_matrix_c3")
    phi = Sensor().sampling_matrix(3)
    assert phi.shape == (11 * 11, 33 * 33)
    np.testing.assert_allclose(phi[:, arrays["columns"]], arrays["values"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("sensor", [OBLONG, ELONGATED])
@pytest.mark.parametrize("factor", [1, 3, 5, 7])
def test_sampling_matrix_renders_targets_that_lie_on_nodes(factor, sensor):
    rng = np.random.default_rng(factor)
    height, width = factor * sensor.height, factor * sensor.width
    row, column = np.divmod(rng.permutation(height * width)[:20], width)
    intensity = rng.uniform(1, 250, 20).astype(np.float32)
    grid = np.zeros((height, width), np.float32)
    grid[row, column] = intensity
    position = (np.stack([row, column], axis=-1) - (factor - 1) / 2) / factor

    image = render(make_targets(jnp.float32(position), jnp.asarray(intensity)), sensor)

    by_matrix = (sensor.sampling_matrix(factor) @ grid.ravel()).reshape(sensor.shape)
    np.testing.assert_allclose(by_matrix, image, rtol=0, atol=1e-5 * image.max())


def test_an_elongated_psf_spreads_by_its_width_over_rows_and_over_columns():
    """The image of a target has the PSF's variance along each axis, and a twelfth of the pixel."""
    sensor = Sensor(height=21, width=31, sigma=(1.0, 2.0))
    image = np.asarray(render(make_targets(jnp.array([[10.2, 15.3]]), jnp.ones(1)), sensor), float)
    for axis, (place, sigma) in enumerate(zip((10.2, 15.3), (1.0, 2.0), strict=True)):
        along = image.sum(axis=1 - axis)
        variance = along @ (np.arange(len(along)) - place) ** 2
        assert variance == pytest.approx(sigma**2 + 1 / 12, rel=1e-4)


def test_equal_widths_are_one_width():
    targets = make_targets(jnp.array([[3.2, 4.1]]), jnp.array([200.0]))
    both = [render(targets, Sensor(sigma=sigma)) for sigma in (0.6, (0.6, 0.6))]
    np.testing.assert_array_equal(*both)


def test_nodes_refine_pixels_evenly_around_their_centres():
    np.testing.assert_allclose(node_coordinates(2, 1), [0, 1])
    np.testing.assert_allclose(node_coordinates(2, 3), [-1 / 3, 0, 1 / 3, 2 / 3, 1, 4 / 3])


@pytest.mark.parametrize("factor", [2, 4, 0, -1, -3])
def test_factor_must_be_odd_and_positive(factor):
    with pytest.raises(DistaxError, match=f"odd.*{factor}"):
        Sensor().sampling_matrix(factor)


def test_flux_is_conserved_away_from_the_edge():
    position = jnp.array([[5.0, 5.0], [4.1, 6.3], [5.49, 4.51]])
    images = render(make_targets(position[:, None], jnp.full((3, 1), 240.0)), Sensor())
    np.testing.assert_allclose(jnp.sum(images, axis=(1, 2)), 240.0, rtol=1e-6)


def test_a_shift_by_whole_pixels_shifts_the_image():
    position = jnp.array([[4.25, 4.5], [4.875, 5.125]])  # shifting these by a pixel is exact
    intensity = jnp.array([230.0, 245.0])
    image = render(make_targets(position, intensity), Sensor())
    shifted = render(make_targets(position + jnp.array([1.0, -1.0]), intensity), Sensor())
    np.testing.assert_allclose(shifted[1:, :-1], image[:-1, 1:], rtol=0, atol=1e-4)


def test_a_target_centred_on_a_pixel_is_brightest_there():
    image = render(make_targets(jnp.array([[1.0, 7.0]]), jnp.array([100.0])), OBLONG)
    assert np.unravel_index(np.argmax(image), image.shape) == (1, 7)


def test_padding_adds_nothing():
    position, intensity = jnp.array([[5.2, 4.7], [4.0, 6.0]]), jnp.array([230.0, 99.0])
    padded = make_targets(position, intensity, jnp.array([True, False]))
    alone = make_targets(position[:1], intensity[:1])
    np.testing.assert_array_equal(render(padded, IDEAL), render(alone, IDEAL))


def test_render_is_the_same_batched_vmapped_and_jitted():
    rng = np.random.default_rng(0)
    targets = make_targets(
        jnp.float32(rng.uniform(0, 5, (2, 3, 4, 2))),
        jnp.float32(rng.uniform(200, 250, (2, 3, 4))),
        jnp.asarray(rng.random((2, 3, 4)) < 0.7),
    )
    batched = render(targets, OBLONG)
    jitted = jax.jit(render, static_argnums=1)(targets, OBLONG)
    vmapped = jax.vmap(jax.vmap(lambda t: render(t, OBLONG)))(targets)
    np.testing.assert_allclose(jitted, batched, rtol=0, atol=1e-4)
    np.testing.assert_allclose(vmapped, batched, rtol=0, atol=1e-4)


def central_differences(function, x, step=1e-5):
    gradient = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        shift = np.zeros(x.shape)
        shift[index] = step
        gradient[index] = (function(x + shift) - function(x - shift)) / (2 * step)
    return gradient


def test_gradients_of_render_agree_with_finite_differences():
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        position, intensity = rng.uniform(3, 7, (3, 2)), rng.uniform(200, 250, 3)
        weight = rng.normal(size=(11, 11))

        @jax.jit
        def projection(position, intensity):
            return jnp.sum(weight * render(make_targets(position, intensity), Sensor()))

        by_position, by_intensity = jax.grad(projection, (0, 1))(
            jnp.asarray(position), jnp.asarray(intensity)
        )
        differences = central_differences(lambda p: projection(p, intensity), position)
        np.testing.assert_allclose(by_position, differences, rtol=1e-6, atol=1e-6)
        differences = central_differences(lambda g: projection(position, g), intensity)
        np.testing.assert_allclose(by_intensity, differences, rtol=1e-6, atol=1e-6)


def test_gradient_in_sigma_agrees_with_finite_differences():
    with jax.enable_x64(True):
        coordinate, weight = jnp.array([4.3, 5.1]), np.random.default_rng(2).normal(size=(2, 11))

        @jax.jit
        def projection(sigma):
            return jnp.sum(weight * pixel_response(coordinate, 11, sigma))

        sigma = np.array(0.5)
        gradient = jax.grad(projection)(jnp.asarray(sigma))
        np.testing.assert_allclose(gradient, central_differences(projection, sigma), rtol=1e-7)


@pytest.mark.parametrize(
    ("options", "delivered"),
    [
        ({}, [0, 0, 10, 11, 254, 255, 255]),
        ({"saturation": 200.0}, [0, 0, 10, 11, 200, 200, 200]),
        ({"saturation": None}, [0, 0, 10, 11, 254, 255, 255]),
        ({"bit_depth": 3}, [0, 0, 7, 7, 7, 7, 7]),
        ({"bit_depth": 10}, [0, 0, 10, 11, 254, 255, 255]),
        ({"bit_depth": 10, "saturation": None}, [0, 0, 10, 11, 254, 255, 400]),
        ({"bit_depth": None}, [-3, 0.25, 10.25, 10.75, 254, 254.75, 255]),
        ({"bit_depth": None, "saturation": None}, [-3, 0.25, 10.25, 10.75, 254, 254.75, 400]),
        ({"background": 5.5}, [2, 6, 16, 16, 255, 255, 255]),
    ],
)
def test_expose_rounds_and_clips(options, delivered):
    image = jnp.array([[-3, 0.25, 10.25, 10.75, 254, 254.75, 400]])
    sensor = Sensor(height=1, width=7, **options)
    np.testing.assert_array_equal(expose(jax.random.key(0), image, sensor), [delivered])


@pytest.mark.parametrize("saturation", [200.25, 200.75])
def test_a_digitised_count_is_whole_even_at_a_fractional_saturation(saturation):
    frame = expose(jax.random.key(0), jnp.full((1, 1), 400.0), Sensor(saturation=saturation))
    assert float(frame[0, 0]) in (200, 201)


@pytest.mark.parametrize("size", [{"height": 10**9}, {"height": 10_000, "width": 10_001}])
def test_a_size_that_no_memory_holds_is_refused(size):
    with pytest.raises(DistaxError, match=r"a sensor of 1[\d,]+ pixels, at most 100,000,000 are"):
        Sensor(**size)
    assert Sensor(height=10_000, width=10_000).shape == (10_000, 10_000)


@pytest.mark.parametrize(
    ("options", "level"),
    [
        ({}, 255),
        ({"saturation": 100.0}, 100),
        ({"bit_depth": 4}, 15),
        ({"saturation": None, "bit_depth": 12}, 4095),
        ({"saturation": None, "bit_depth": None}, float("inf")),
    ],
)
def test_the_clip_level_is_the_lower_of_saturation_and_bit_depth(options, level):
    assert Sensor(**options).clip_level == level


FLAT = jnp.full((200, 200), 100.0)
"""40,000 pixels, which give a standard deviation to 0.35% and a variance to 0.7%."""


def test_read_noise_has_the_given_deviation():
    sensor = Sensor(saturation=None, bit_depth=None, read_noise=3.0)
    frame = expose(jax.random.key(0), FLAT, sensor)
    np.testing.assert_allclose(jnp.std(frame), 3.0, rtol=0.02)
    np.testing.assert_allclose(jnp.mean(frame), 100.0, atol=0.08)


def test_shot_noise_has_variance_mean_over_gain():
    sensor = Sensor(saturation=None, bit_depth=None, gain=4.0, background=20.0)
    frame = expose(jax.random.key(1), FLAT, sensor)
    np.testing.assert_allclose(jnp.var(frame), 120.0 / 4.0, rtol=0.04)
    np.testing.assert_allclose(jnp.mean(frame), 120.0, atol=0.15)
    np.testing.assert_array_equal(frame * 4, jnp.round(frame * 4))  # whole electrons


def test_noise_is_a_function_of_the_key_alone():
    noisy = Sensor(read_noise=3.0, gain=4.0)
    first, again, other = (expose(jax.random.key(k), FLAT, noisy) for k in (2, 2, 3))
    np.testing.assert_array_equal(first, again)
    assert np.mean(np.asarray(first) != np.asarray(other)) > 0.8


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("height", [0, -1]),
        ("width", [0, -1]),
        ("sigma", [0.0, -0.5, float("nan")]),
        ("saturation", [0.0, -1.0, float("nan")]),
        ("bit_depth", [0, -8]),
        ("gain", [0.0, -1.0, float("nan")]),
        ("read_noise", [-1.0]),
        ("background", [-1.0]),
    ],
)
def test_invalid_fields_are_named(field, values):
    for value in values:
        with pytest.raises(DistaxError, match=f"{field} must .* got {value}"):
            Sensor(**{field: value})


def test_rounding_variance_of_whole_counts_and_of_real_readings():
    assert Sensor().half_step == 0.5
    assert Sensor().rounding_variance == pytest.approx(1 / 12)
    for read_noise in (0.01, 0.3, 30.0):
        real = Sensor(bit_depth=None, read_noise=read_noise)
        assert real.half_step == pytest.approx(0.1 * read_noise)
        assert real.rounding_variance == 0
    shot = Sensor(bit_depth=None, background=0.02, gain=2.0)
    assert shot.half_step == pytest.approx(0.01)
    ideal = Sensor(bit_depth=None)
    assert 0 < ideal.half_step < 0.1
    assert ideal.rounding_variance == pytest.approx((2 * ideal.half_step) ** 2 / 12)


def test_noise_variance_is_read_noise_plus_shot_noise():
    level = jnp.array([-3.0, 0.0, 40.0])
    np.testing.assert_allclose(Sensor(read_noise=3.0).noise_variance(level), 9)
    shot = Sensor(read_noise=3.0, gain=2.0)
    np.testing.assert_allclose(shot.noise_variance(level), [9, 9, 29])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sigma": float("inf")}, "sigma must be a finite number, got inf"),
        ({"sigma": [0.5, 0.6]}, r"sigma must be a finite number, got \[0.5, 0.6\]"),
        ({"sigma": "0.5"}, "sigma must be a finite number, got '0.5'"),
        ({"sigma": (0.5,)}, r"sigma must have 2 entries, got \(0.5,\)"),
        ({"sigma": (0.5, 0.5, 0.5)}, "sigma must have 2 entries"),
        ({"sigma": (0.5, (1.0, 2.0))}, r"sigma must be a finite number, got \(1.0, 2.0\)"),
        ({"sigma": np.array(["0.5", "0.6"])}, "sigma must be a finite number"),
        ({"sigma": None}, "sigma must be a finite number, got None"),
        ({"sigma": 10**400}, "sigma must be a finite number"),
        ({"saturation": "x"}, "saturation must be a finite number or None, got 'x'"),
        ({"read_noise": True}, "read_noise must be a finite number, got True"),
        ({"bit_depth": True}, "bit_depth must be a whole number, got True"),
        ({"bit_depth": 2000}, "bit_depth must be at most 64, got 2000"),
        ({"measured_psf": 0.5}, "measured_psf must be of type MeasuredPsf or None, got 0.5"),
        ({"height": 11.5}, "height must be a whole number, got 11.5"),
        ({"background": float("inf")}, "background must be a finite number"),
        ({"background": 255.0}, "a background of 255.0 counts leaves no room"),
    ],
)
def test_invalid_sensors_are_refused(options, message):
    # Set afterwards, as the tests' type checker would let few of them through to the class.
    sensor = Sensor()
    vars(sensor).update(options)
    with pytest.raises(DistaxError, match=message):
        sensor.__post_init__()


def test_a_list_of_widths_is_told_to_be_a_tuple(any_types):
    message = r"sigma must be a finite number, got \[0.5, 0.6\]; write a tuple in place of the list"
    with pytest.raises(DistaxError, match=message):
        Sensor(sigma=[0.5, 0.6])
