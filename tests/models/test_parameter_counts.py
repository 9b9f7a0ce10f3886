"""Numbers of trained parameters at the default sizes, which are those of the original toolkit."""

import pytest
from flax import nnx

from distax.models import create
from distax.models.layers.basic import parameter_count

COUNTS = {
    "cfgn": 530_685,
    # Two convolutions, 1·9·128 + 128 + 1 and 128·32 + 32 + 1; three units of three projections,
    # 7·7·32·32 + 32 + 1 each; 64·9 + 1 at the end. The ones are slopes.
    "dbpn": 1_281 + 4_129 + 3 * 3 * 50_209 + 577,
    # 25·64 + 64, 64·9·32 + 32, and 32·9·9 + 9 to the nine nodes of a pixel.
    "espcn": 1_664 + 18_464 + 2_601,
    "srfbn": 372_720,  # without the two mean shifts, 4 numbers
    "rdn": 22_305_729,
    "srcnn": 19_393,
    "srcnn_sequence": 15_841,
    "gmfn": 2_796_518,
    "focus": 46_037,
    "edsr_sequence": 389_025,
    "edsr": 1_552_193,  # without the two mean shifts, 4 numbers
    "dista": 2_179_104,
    # Without the four convolutions that the original stores and does not use: 74,599.
    "fista_net": 74_599 - 4 * 9_248,
    "ista_net": 171_090,
    "ista_net_plus": 336_978,
    "ista_net_pp": 760_220,
    "stsa": 696_420,
    "lamp": 2_125_728,
    "liht": 21_100_464,
    "lista": 21_100_464,
    "tilista": 2_125_744,
    "rcan": 1_078_729,
    "han": 64_341_727,
    "dctlsa": 864_994,
    "hit_sng": 951_681,
    # With the discriminator, and without a convolution that the original stores and does not use
    # (36,928). A relativistic discriminator has no last bias here.
    "srgan": 1_552_193 + 13_730_249,
    "esrgan": 16_695_681 - 36_928 + 13_730_249 - 1,
    "bsrgan": 11_659_713 - 36_928 + 4_375_745 - 1,
    "san": 4_441_620 - 38_042,  # without what the original does not use
    "egasr": 2_896_690 - 489_984,  # without templates and what the original does not use
    # The original stores another 64² × 9 + 64 after the last group, which it does not use.
    "actnet": 46_175_105,
    "fenet": 682_498,
    "ctnet": 400_321 - 53_248,  # without what the original does not use
    # The original stores a matrix for the gate, of which only the sums of its rows matter.
    "derefnet": 1_482_879 - 1_089**2 + 1_089,
    "tdan": 584_833,
    "usrnet": 1_068_736,
    # The original stores a reconstruction for each stage and uses the last: 5 × 28,609 fewer here.
    "rpcanet": 536_851,
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_defaults_are_the_fields_sizes(name, monkeypatch):
    # Sizes depend on no key, and to count keys within `eval_shape` takes Flax time that grows with
    # the square of their number.
    monkeypatch.setattr(nnx.RngStream, "__call__", lambda stream: stream.key[...])
    model = nnx.eval_shape(lambda: create(name, rngs=nnx.Rngs(0)))
    assert parameter_count(model) == COUNTS[name]
