from dataclasses import replace

import jax.numpy as jnp
import pytest
from flax import nnx

from distax import DistaxError
from distax.imaging.scenes import ScenePrior
from distax.imaging.sensor import Sensor
from distax.models import GridModel, register
from distax.training.building import abstract_model
from distax.training.config import ModelConfig
from distax.training.loop import train
from distax.training.setup import check_trainable


def check(config):
    model = abstract_model(config)
    check_trainable(model, config.model.name, config.prior, config.threshold)


def test_the_usual_is_trainable(tiny_config):
    check(tiny_config)
    check(replace(tiny_config, model=ModelConfig("density")))


def test_a_classical_model_is_not_trained(tiny_config, tmp_path):
    config = replace(tiny_config, model=ModelConfig("fista"))
    with pytest.raises(DistaxError, match=r"fista has nothing to train; .*--checkpoint fista"):
        train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_that_keeps_random_keys_is_refused(tiny_config):
    @register("forgetful")
    class Forgetful(GridModel):
        def __init__(self, *, factor: int = 1, sensor: Sensor, rngs: nnx.Rngs):
            super().__init__(factor, sensor)
            self.gain = nnx.Param(jnp.ones(()))
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, images):
            return self.dropout(self.gain[...] * images)

    config = replace(tiny_config, model=ModelConfig("forgetful"))
    with pytest.raises(DistaxError, match=r"keeps a random key \(dropout.rngs.*no dropout$"):
        check(config)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (ScenePrior(max_targets=7, cluster=1.2), "up to 7 targets, the model counts up to 5"),
        (ScenePrior(cluster=1.6), r"up to 0.8 px .*nodes reach 0.6 px; give it a larger reach"),
    ],
)
def test_scenes_beyond_the_density_are_refused(tiny_config, prior, message):
    density = replace(tiny_config, model=ModelConfig("density"), prior=prior)
    with pytest.raises(DistaxError, match=message):
        check(density)
    check(replace(tiny_config, prior=prior))


def test_a_threshold_that_no_target_reaches_is_refused(tiny_config):
    prior = ScenePrior(min_intensity=20.0, max_intensity=40.0)
    with pytest.raises(DistaxError, match=r"threshold of 50 counts, .* brightest has 40; lower"):
        check(replace(tiny_config, prior=prior))
    check(replace(tiny_config, prior=prior, threshold=10.0))
    check(replace(tiny_config, model=ModelConfig("density"), prior=prior))
