import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax.models.layers.convolution import conv3x3, convolve, filter3x3, separable3x3

BATCHES = [1, 3, 8, 17]  # less than a part, one part, whole parts, uneven parts
CHANNELS = [(1, 1), (1, 4), (4, 1), (3, 5), (16, 17)]
HEIGHT, WIDTH = 5, 6


def random(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def naive(maps, kernel):
    """Cross-correlation with zeros around the maps, one output at a time, in float64."""
    batch, height, width, _ = maps.shape
    padded = np.pad(maps.astype(float), ((0, 0), (1, 1), (1, 1), (0, 0)))
    result = np.zeros((batch, height, width, kernel.shape[-1]))
    for i in range(height):
        for j in range(width):
            window = padded[:, i : i + 3, j : j + 3]
            result[:, i, j] = np.einsum("bklc,klcd->bd", window, kernel)
    return result


def xla_convolution(maps, kernel):
    return jax.lax.conv_general_dilated(
        maps, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def assert_close(actual, expected):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * scale)


def assert_gradients_agree(function, plain, arguments, cotangent):
    """Checks the gradients of every argument against a form that JAX differentiates itself."""

    def gradients(function):
        return jax.jit(lambda *args: jax.vjp(function, *args)[1](cotangent))(*arguments)

    jax.tree.map(assert_close, gradients(function), gradients(plain))


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize(("inputs", "outputs"), CHANNELS)
def test_conv3x3(batch, inputs, outputs):
    rng = np.random.default_rng(batch)
    maps, kernel = random(rng, batch, HEIGHT, WIDTH, inputs), random(rng, 3, 3, inputs, outputs)
    arguments = jnp.asarray(maps), jnp.asarray(kernel)
    assert_close(jax.jit(conv3x3)(*arguments), naive(maps, kernel))
    cotangent = jnp.asarray(random(rng, batch, HEIGHT, WIDTH, outputs))
    assert_gradients_agree(conv3x3, xla_convolution, arguments, cotangent)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("inputs", "outputs"), CHANNELS)
def test_separable3x3(batch, inputs, outputs):
    rng = np.random.default_rng(batch)
    maps, depthwise, pointwise = (
        random(rng, *shape)
        for shape in [(batch, HEIGHT, WIDTH, inputs), (3, 3, inputs), (inputs, outputs)]
    )

    def plain(maps, depthwise, pointwise):
        filtered = jax.lax.conv_general_dilated(
            maps,
            depthwise[:, :, None],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=inputs,
        )
        return filtered @ pointwise

    each = [naive(maps[..., c : c + 1], depthwise[..., c, None, None]) for c in range(inputs)]
    arguments = tuple(map(jnp.asarray, (maps, depthwise, pointwise)))
    assert_close(jax.jit(separable3x3)(*arguments), np.concatenate(each, axis=-1) @ pointwise)
    cotangent = jnp.asarray(random(rng, batch, HEIGHT, WIDTH, outputs))
    assert_gradients_agree(separable3x3, plain, arguments, cotangent)


def test_filter3x3_with_a_kernel_a_sample():
    rng = np.random.default_rng(0)
    images, kernels = random(rng, 3, HEIGHT, WIDTH), random(rng, 3, 3, 3)
    arguments = jnp.asarray(images), jnp.asarray(kernels)

    @jax.vmap
    def plain(image, kernel):
        return xla_convolution(image[None, ..., None], kernel[..., None, None])[0, ..., 0]

    expected = [
        naive(image[None, ..., None], kernel[..., None, None])[0, ..., 0]
        for image, kernel in zip(images, kernels, strict=True)
    ]
    assert_close(jax.vmap(filter3x3)(*arguments), np.stack(expected))
    cotangent = jnp.asarray(random(rng, 3, HEIGHT, WIDTH))
    assert_gradients_agree(jax.vmap(filter3x3), plain, arguments, cotangent)


def test_kernels_are_not_flipped():
    maps = jnp.zeros((1, 5, 5, 1)).at[0, 2, 2, 0].set(1.0)
    kernel = jnp.arange(9.0).reshape(3, 3, 1, 1)
    # A cross-correlation shows the kernel upside down and mirrored around a point.
    np.testing.assert_array_equal(
        conv3x3(maps, kernel)[0, 1:4, 1:4, 0], [[8, 7, 6], [5, 4, 3], [2, 1, 0]]
    )


@pytest.mark.parametrize(
    ("size", "stride", "padding", "groups"),
    [
        (1, 1, 0, 1),
        (1, 1, 1, 1),
        (3, 1, 1, 1),
        (3, 1, 1, 6),
        (3, 1, 0, 6),
        (3, 1, 1, 2),
        (3, 2, 0, 1),
        (5, 1, 2, 1),
        (2, 2, 0, 3),
        (7, 1, 3, 1),
        (7, 1, 3, 6),
    ],
)
def test_convolve_is_what_xla_says(size, stride, padding, groups):
    rng = np.random.default_rng(size)
    maps = jnp.asarray(random(rng, 3, HEIGHT, WIDTH, 6))
    kernel = jnp.asarray(random(rng, size, size, 6 // groups, 6))

    def plain(maps, kernel):
        return jax.lax.conv_general_dilated(
            maps,
            kernel,
            (stride, stride),
            [(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    def ours(maps, kernel):
        return convolve(maps, kernel, stride, padding, groups)

    expected = plain(maps, kernel)
    assert_close(ours(maps, kernel), expected)
    cotangent = jnp.asarray(random(rng, *expected.shape))
    assert_gradients_agree(ours, plain, (maps, kernel), cotangent)


@pytest.mark.parametrize(("platform", "convolutions"), [("cpu", 0), ("tpu", 1), ("cuda", 1)])
def test_the_platform_a_gradient_is_compiled_for_decides_on_its_form(platform, convolutions):
    maps, kernel = jnp.zeros((8, HEIGHT, WIDTH, 16)), jnp.zeros((3, 3, 16, 16))
    gradient = jax.jit(jax.grad(lambda kernel: conv3x3(maps, kernel).sum()))
    program = gradient.trace(kernel).lower(lowering_platforms=(platform,)).as_text()
    assert program.count("stablehlo.convolution") == convolutions


def test_a_gradient_in_bfloat16_is_summed_in_float32():
    rng = np.random.default_rng(0)
    maps, cotangent = (jnp.asarray(random(rng, 64, 8, 8, 16), jnp.bfloat16) for _ in range(2))
    kernel = jnp.zeros((3, 3, 16, 16), jnp.bfloat16)
    found = jax.vjp(conv3x3, maps, kernel)[1](cotangent)[1]
    assert found.dtype == jnp.bfloat16
    exact = [array.astype(jnp.float32) for array in (maps, kernel, cotangent)]
    expected = jax.vjp(xla_convolution, *exact[:2])[1](exact[2])[1]
    # The result has eight bits; a sum in bfloat16 would lose far more.
    np.testing.assert_allclose(found, expected, rtol=2**-8, atol=1e-3 * np.abs(expected).max())
