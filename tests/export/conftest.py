import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from distax import Unmixer, make_targets
from distax.export import export
from distax.imaging.scenes import simulate
from distax.models import Model, create


@pytest.fixture(scope="session")
def images():
    return np.asarray(simulate(jax.random.key(5), 17)[0])


@pytest.fixture(scope="session")
def unmixer(images):
    """The grid method with a small untrained network; half of its brightest nodes are targets."""
    model = create("dista", stages=1, channels=4, hidden=8, rngs=nnx.Rngs(0))
    return Unmixer(
        model=model, threshold=float(jnp.median(model.detect(jnp.asarray(images)).intensity))
    )


@pytest.fixture(scope="session")
def file(unmixer, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "grid.distax"
    export(unmixer, path)
    return path


class Middle(Model):
    """Finds one target in the middle pixel; a subclass gives its intensity by `brightness`."""

    def loss(self, images, targets):
        raise NotImplementedError

    def detect(self, images):
        return make_targets(jnp.full((len(images), 1, 2), 5.0), self.brightness(images)[:, None])


@pytest.fixture
def middle():
    """Makes an unmixer whose intensities are a function of the images."""

    def make(brightness):
        return Unmixer(model=type("Of", (Middle,), {"brightness": staticmethod(brightness)})())

    return make
