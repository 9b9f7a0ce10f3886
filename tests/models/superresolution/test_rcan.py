import pytest
from flax import nnx

from distax import DistaxError
from distax.models import create


@pytest.mark.parametrize("name", ["rcan", "han"])
def test_sizes_that_cannot_work_are_refused(name):
    with pytest.raises(DistaxError, match="channels must be a multiple of 5, got 32"):
        create(name, channels=32, reduction=5, groups=1, blocks=1, rngs=nnx.Rngs(0))
    with pytest.raises(DistaxError, match="blocks must be greater than 0"):
        create(name, blocks=0, rngs=nnx.Rngs(0))
