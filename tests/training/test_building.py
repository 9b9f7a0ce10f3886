from dataclasses import replace

import pytest

from distax import DistaxError
from distax.training.building import abstract_model, stored_model
from distax.training.config import ModelConfig


def test_a_model_without_end_is_refused(tiny_config):
    config = replace(tiny_config, model=ModelConfig("ista_net", options={"stages": 9_000}))
    with pytest.raises(DistaxError, match="more than 3,000 arrays of parameters"):
        abstract_model(config)
    with pytest.raises(DistaxError, match=r"more parameters than are stored; the file is damaged"):
        stored_model(config, [(121, 1089), (1089, 121)], "a.safetensors")
