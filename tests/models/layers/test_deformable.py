"""Deformable convolution: its definition point by point, finite differences, its borders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import DistaxError
from distax.models.layers.convolution import convolve
from distax.models.layers.deformable import DeformConv, deform_convolve

HEIGHT, WIDTH, INPUTS, OUTPUTS, GROUPS = 4, 5, 4, 3, 2
run = jax.jit(deform_convolve)


def draw(spread=1.7, groups=GROUPS):
    keys = jax.random.split(jax.random.key(3), 3)
    maps = jax.random.normal(keys[0], (2, HEIGHT, WIDTH, INPUTS))
    offsets = spread * jax.random.normal(keys[1], (2, HEIGHT, WIDTH, groups * 18))
    kernel = jax.random.normal(keys[2], (3, 3, INPUTS, OUTPUTS))
    return maps, offsets, kernel


def sample(channel, row, column):
    """Interpolates one map bilinearly by the hat function, with zeros outside."""
    value = 0.0
    for i in range(channel.shape[0]):
        for j in range(channel.shape[1]):
            hat = max(0.0, 1 - abs(row - i)) * max(0.0, 1 - abs(column - j))
            value += hat * channel[i, j]
    return value


def by_definition(maps, offsets, kernel):
    maps, offsets, kernel = (np.asarray(array, np.float64) for array in (maps, offsets, kernel))
    output = np.zeros((len(maps), HEIGHT, WIDTH, OUTPUTS))
    each = INPUTS // (offsets.shape[-1] // 18)
    for b, i, j, c, k in np.ndindex(len(maps), HEIGHT, WIDTH, INPUTS, 9):
        ky, kx = divmod(k, 3)
        dy, dx = offsets[b, i, j, ((c // each) * 9 + k) * 2 :][:2]
        value = sample(maps[b, :, :, c], i + ky - 1 + dy, j + kx - 1 + dx)
        output[b, i, j] += kernel[ky, kx, c] * value
    return output


@pytest.mark.parametrize("groups", [1, 2])
def test_it_is_its_definition(groups):
    arguments = draw(groups=groups)
    np.testing.assert_allclose(run(*arguments), by_definition(*arguments), rtol=0, atol=2e-5)


def test_without_offsets_it_is_a_convolution():
    maps, offsets, kernel = draw(spread=0.0)
    np.testing.assert_allclose(
        run(maps, offsets, kernel), convolve(maps, kernel), rtol=0, atol=2e-5
    )


def test_a_point_just_outside_takes_a_share_of_the_border():
    maps = jnp.ones((1, HEIGHT, WIDTH, 1))
    kernel = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1.0)
    offsets = jnp.zeros((1, HEIGHT, WIDTH, 18))
    up = offsets.at[..., 8].set(jnp.array([-0.3, -1.0, -2.0, -4.0])[:, None])
    np.testing.assert_allclose(run(maps, up, kernel)[0, :, 2, 0], [0.7, 1, 1, 0], atol=1e-6)
    down = offsets.at[..., 8].set(jnp.array([4.0, 2.6, 2.0, 0.6])[:, None])
    np.testing.assert_allclose(run(maps, down, kernel)[0, :, 2, 0], [0, 0.4, 0, 0.4], atol=1e-6)


def test_gradients_are_finite_differences():
    """In float64, away from whole offsets, where the interpolation has a kink."""
    with jax.enable_x64(True):
        maps, offsets, kernel = (jnp.asarray(array, jnp.float64) for array in draw())
        weight = jnp.asarray(np.random.default_rng(0).normal(size=(2, HEIGHT, WIDTH, OUTPUTS)))

        def total(maps, offsets, kernel):
            return jnp.sum(weight * deform_convolve(maps, offsets, kernel))

        total = jax.jit(total)
        gradients = jax.grad(total, argnums=(0, 1, 2))(maps, offsets, kernel)
        arguments = [maps, offsets, kernel]
        for place, gradient in enumerate(gradients):
            rng = np.random.default_rng(place)
            for _ in range(12):
                index = tuple(rng.integers(size) for size in gradient.shape)
                step = jnp.zeros_like(gradient).at[index].set(1e-4)

                def at(sign, place=place, step=step):
                    moved = [
                        array + sign * step if k == place else array
                        for k, array in enumerate(arguments)
                    ]
                    return total(*moved)

                difference = (at(1) - at(-1)) / 2e-4
                assert float(gradient[index]) == pytest.approx(float(difference), abs=1e-7)


def test_a_new_layer_is_a_convolution_and_learns_offsets():
    layer = DeformConv(INPUTS, OUTPUTS, groups=GROUPS, rngs=nnx.Rngs(0))
    maps = draw()[0]
    np.testing.assert_allclose(layer(maps), convolve(maps, layer.kernel[...]), atol=2e-5)
    gradients = nnx.grad(lambda layer: jnp.sum(layer(maps) ** 2))(layer)
    assert jnp.abs(gradients.offset.kernel[...]).max() > 0
    assert jnp.abs(gradients.offset.bias[...]).max() > 0


def test_channels_that_do_not_divide_are_refused():
    with pytest.raises(DistaxError, match="channels must be a multiple of 3, got 4"):
        DeformConv(4, 4, groups=3, rngs=nnx.Rngs(0))
    with pytest.raises(DistaxError, match="offsets must be a multiple of 18, got 20"):
        deform_convolve(jnp.zeros((1, 4, 4, 4)), jnp.zeros((1, 4, 4, 20)), draw()[2])
