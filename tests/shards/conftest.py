import numpy as np
import pytest

from distax.imaging.targets import CREDIBLE_LEVELS, Targets
from distax.metrics import RADII

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
