import jax
import numpy as np
import pytest
from flax import nnx

from distax import Unmixer, models
from distax.imaging.scenes import simulate
from distax.imaging.targets import CREDIBLE_LEVELS, Targets
from distax.metrics import RADII
from distax.shards import unmix_shards
from tests.shards.files import LENGTHS

IMAGES, SLOTS = 9, 4


@pytest.fixture(scope="session")
def found():
    """Targets with every field, in images of none to four, with holes in the mask."""
    random = np.random.default_rng(0)

    def draw(*shape):
        return random.normal(size=(IMAGES, *shape)).astype(np.float32)

    mask = random.random((IMAGES, SLOTS)) < 0.6
    mask[3] = False
    mask[5] = True
    factor = draw(SLOTS, 2, 2)
    covariance = factor + factor.swapaxes(-1, -2)
    return Targets(
        position=draw(SLOTS, 2),
        intensity=draw(SLOTS),
        mask=mask,
        score=draw(SLOTS),
        covariance=covariance,
        intensity_std=draw(SLOTS),
        hit_probability=draw(SLOTS, len(RADII)),
        credible_radius=draw(SLOTS, len(CREDIBLE_LEVELS)),
        count_probability=draw(),
        misfit=draw(),
        trusted=random.random(IMAGES) < 0.5,
    )


@pytest.fixture(scope="module")
def unmixer():
    options = {"stages": 1, "channels": 4, "hidden": 8}
    model = models.create("dista", rngs=nnx.Rngs(0), **options)
    return Unmixer(model=model, threshold=20.0)


@pytest.fixture(scope="module")
def images():
    return np.asarray(simulate(jax.random.key(0), sum(LENGTHS.values()))[0])


@pytest.fixture(scope="module")
def shards(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    ends = np.cumsum([0, *LENGTHS.values()])
    for name, start, stop in zip(LENGTHS, ends, ends[1:], strict=False):
        np.save(folder / f"{name}.npy", images[start:stop].astype(np.uint8))
    return [folder / f"{name}.npy" for name in LENGTHS]


@pytest.fixture
def finished(unmixer, shards, tmp_path):
    """A folder of results of all shards."""
    unmix_shards(unmixer, shards, tmp_path / "out")
    return tmp_path / "out"
