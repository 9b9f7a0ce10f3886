import pytest

from distax import DistaxError
from distax.cli.choosing import chosen_unmixer


def test_without_options_it_is_the_network_of_distax():
    unmixer = chosen_unmixer(None, None, 50.0)
    assert (unmixer.method, type(unmixer.model).__name__) == ("fast", "Density")


@pytest.mark.parametrize("method", ["refine", "posterior"])
def test_methods_that_need_no_model(method):
    unmixer = chosen_unmixer(method, None, 50.0)
    assert (unmixer.method, unmixer.model) == (method, None)


@pytest.mark.parametrize("method", [None, "grid"])
def test_the_model_of_a_run(method, tiny_run):
    unmixer = chosen_unmixer(method, tiny_run, 20.0)
    assert (unmixer.method, unmixer.threshold) == ("grid", 20.0)
    assert type(unmixer.model).__name__ == "Dista"


@pytest.mark.parametrize(
    ("method", "has_checkpoint", "message"),
    [
        ("grid", False, "the method grid needs a trained model: name one by --checkpoint"),
        ("refine", True, "refine has no model; give --method or --checkpoint, not both"),
        ("fast", True, "the model of .* is for the method grid, not fast; leave --method out"),
    ],
)
def test_options_that_contradict_each_other(method, has_checkpoint, message, tiny_run):
    with pytest.raises(DistaxError, match=message):
        chosen_unmixer(method, tiny_run if has_checkpoint else None, 50.0)
