import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from distax import Sensor
from distax.models.layers.basic import parameter_count
from distax.models.superresolution.dbpn import Dbpn

FACTOR = 3


def project(maps, sequence, *, up):
    """Applies a strided or transposed convolution with a padding of 2, then the PReLU."""
    layer, activation = sequence.layers
    kernel = layer.kernel[...]
    strides, dilation, margin = ((1, 1), (3, 3), 4) if up else ((3, 3), (1, 1), 2)
    maps = jax.lax.conv_general_dilated(
        maps,
        kernel[::-1, ::-1] if up else kernel,
        strides,
        [(margin, margin)] * 2,
        lhs_dilation=dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return activation(maps + layer.bias[...])


def unit(maps, module, *, up):
    first = project(maps, module.first, up=up)
    return first + project(project(first, module.back, up=not up) - maps, module.second, up=up)


def test_three_stages_by_strided_and_transposed_convolutions():
    model = Dbpn(
        factor=FACTOR,
        initial=6,
        channels=4,
        stages=3,
        sensor=Sensor(height=7, width=7),
        rngs=nnx.Rngs(0),
    )
    images = 100 * jax.random.uniform(jax.random.key(1), (2, 7, 7))
    start = model.features(model.head(images[..., None]))

    def merged(merge, *maps):
        return merge.layers[0](jnp.concatenate(maps, axis=-1))

    fine1 = unit(start, model.start, up=True)
    coarse1 = unit(fine1, model.downs[0], up=False)
    fine2 = unit(coarse1, model.ups[0], up=True)
    coarse2 = unit(merged(model.merge_fine, fine1, fine2), model.downs[1], up=False)
    fine3 = unit(merged(model.merge_coarse, coarse1, coarse2), model.ups[1], up=True)
    expected = model.last(jnp.concatenate([fine1, fine2, fine3], axis=-1))[..., 0]
    scale = float(jnp.abs(expected).max())
    np.testing.assert_allclose(jax.jit(model)(images), expected, rtol=0, atol=1e-5 * scale)


def test_a_chain_of_seven_stages_has_the_toolkits_parameters():
    model = nnx.eval_shape(lambda: Dbpn(stages=7, dense=False, rngs=nnx.Rngs(0)))
    assert parameter_count(model) == 1_963_594
