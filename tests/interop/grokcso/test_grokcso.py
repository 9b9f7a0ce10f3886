import numpy as np
import pytest

from distax import DistaxError
from distax.interop import grokcso


@pytest.fixture(scope="module")
def original(reference):
    arrays, prefix = reference("dista_c3_stages2"), "weights/"
    weights = {k.removeprefix(prefix): a for k, a in arrays.items() if k.startswith(prefix)}
    return weights, {"factor": 3, "phi": arrays["phi"], "q_init": arrays["q_init"]}


def test_every_array_lands_where_its_meaning_says(original):
    weights, options = original
    model = grokcso.load("dista", weights, **options, alpha=0.6)
    assert len(model.stages) == 2
    for index, stage in enumerate(model.stages):
        expected = {
            "lambda_step": stage.step_size[...][None],
            "conv2_forward": stage.static_transform.second[...].transpose(3, 2, 0, 1),
            "conv1_backward": stage.inverse.first[...].transpose(3, 2, 0, 1),
            "w1.weight": stage.dynamic_transform.compress.kernel[...].T,
            "att.convl.weight": stage.threshold.wide_view.depthwise[...].transpose(2, 0, 1)[
                :, None
            ],
            "att.conv_m.weight": stage.threshold.merge.kernel[...].T[..., None, None],
            "att.conv_m.bias": stage.threshold.merge.bias[...],
        }
        for name, value in expected.items():
            np.testing.assert_array_equal(value, weights[f"{index}.{name}"], err_msg=name)
        assert stage.alpha == 0.6
    np.testing.assert_array_equal(model.phi[...], options["phi"])
    np.testing.assert_array_equal(model.q_init[...], options["q_init"])


def test_unknown_models_are_named_with_the_known_ones(original):
    weights, options = original
    with pytest.raises(DistaxError, match="unknown GrokCSO model 'dysta': did you mean 'dista'"):
        grokcso.load("dysta", weights, **options)


def test_a_missing_array_is_named(original):
    weights, options = original
    fewer = {key: array for key, array in weights.items() if key != "1.att.convl.bias"}
    with pytest.raises(
        DistaxError, match=r"'stages\.1\.threshold\.wide_view\.depthwise_bias' is missing"
    ):
        grokcso.load("dista", fewer, **options)


def test_weights_without_any_array_are_refused(original):
    _, options = original
    with pytest.raises(DistaxError, match=r"'0\.[a-z_0-9.]+' is missing"):
        grokcso.load("dista", {}, **options)


def test_a_stage_left_out_is_named(original):
    weights, options = original
    renamed = {k.replace("1.", "2.", 1) if k[0] == "1" else k: a for k, a in weights.items()}
    with pytest.raises(DistaxError, match=r"'2\.[a-z_0-9.]+' and \d+ more are not part of a Dista"):
        grokcso.load("dista", renamed, **options)


@pytest.mark.parametrize("name", ["optimizer", "0.w3.weight"])
def test_an_array_that_is_left_over_is_named(name, original):
    weights, options = original
    with pytest.raises(DistaxError, match=f"'{name}' is not part of a Dista"):
        grokcso.load("dista", weights | {name: np.zeros(3)}, **options)


# Among them what a conversion to distax's layout cannot read, or would cut to a fitting shape.
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("0.lambda_step", (2,)),
        ("0.w1.weight", (1089, 256)),
        ("0.w2.bias", (8,)),
        ("1.conv2_forward", (64, 64, 5, 5)),
        ("1.conv2_forward", (64, 64, 3)),
        ("1.att.convl.weight", (64, 2, 3, 3)),
        ("1.att.convl.weight", (64,)),
        ("1.att.conv0_s.weight", (32, 64, 3, 3)),
        ("1.att.conv_m.weight", (64, 32)),
    ],
)
def test_a_misshaped_array_is_named(name, shape, original):
    weights, options = original
    with pytest.raises(DistaxError, match=f"'{name}'.*shape"):
        grokcso.load("dista", weights | {name: np.zeros(shape)}, **options)


def test_weights_of_another_factor_are_refused(original):
    weights, options = original
    with pytest.raises(DistaxError, match="factor"):
        grokcso.load("dista", weights, **options | {"factor": 5})
