import dataclasses
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distax import Sensor, Targets, Unmixer
from distax.fitting.sampler import QUICK
from distax.imaging.scenes import ScenePrior, sample
from distax.models import create
from distax.models.keys import parameter_rngs

FOUND = Targets(
    position=jnp.array([[[5.25, 4.0], [0.0, 0.0], [5.0, 4.5]], [[1.0, 2.0]] * 3]),
    intensity=jnp.array([[230.04, 0.0, 249.96], [1.0, 1.0, 1.0]]),
    mask=jnp.array([[True, False, True], [False, False, False]]),
    score=jnp.array([[0.98765, 0.0, 0.5], [0.0, 0.0, 0.0]]),
)
HEADINGS = ["image", "row / px", "column / px", "intensity / counts", "score", "trusted"]


def cells(html):
    """Returns the text of every cell of the only table, row by row."""
    table = ElementTree.fromstring(f"<div>{html}</div>").find("table")
    return [["".join(cell.itertext()) for cell in row] for row in table]


def test_a_row_for_each_target_and_one_for_an_image_without():
    html = FOUND._repr_html_()
    assert "<p>2 images, 2 targets</p>" in html
    assert cells(html) == [
        HEADINGS,
        ["0", "5.250", "4.000", "230.0", "0.988", "–"],
        ["0", "5.000", "4.500", "250.0", "0.5", "–"],
        ["1", "no target", "", "", "", "–"],
    ]


def test_uncertainties_and_trust_stand_beside_their_values():
    covariance = jnp.zeros((2, 3, 2, 2)).at[0, 2].set(jnp.array([[0.0004, 0.0], [0.0, 0.01]]))
    known = dataclasses.replace(
        FOUND,
        covariance=covariance,
        intensity_std=jnp.array([[1.0, 0.0, 2.25], [0.0, 0.0, 0.0]]),
        trusted=jnp.array([True, False]),
    )
    rows = cells(known._repr_html_())
    assert rows[2] == ["0", "5.000 ± 0.020", "4.500 ± 0.100", "250.0 ± 2.2", "0.5", "yes"]
    assert rows[3] == ["1", "no target", "", "", "", "no"]


def test_only_the_first_images_are_listed():
    prior = ScenePrior(max_targets=1)
    html = sample(jax.random.key(0), 1234, prior)._repr_html_()
    assert "<p>1,234 images, 1,234 targets; the first 5 images:</p>" in html
    assert [row[0] for row in cells(html)[1:]] == ["0", "1", "2", "3", "4"]


def test_any_batch_shape_is_shown():
    first = jax.tree.map(lambda leaf: leaf[0], FOUND)
    assert "<p>1 image, 2 targets</p>" in first._repr_html_()
    assert cells(first._repr_html_()) == cells(FOUND._repr_html_())[:3]
    twice = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), FOUND)
    assert "<p>4 images, 4 targets</p>" in twice._repr_html_()
    empty = jax.tree.map(lambda leaf: leaf[:0], FOUND)
    assert "<p>0 images, 0 targets</p>" in empty._repr_html_()


def test_targets_without_numbers_have_no_table():
    shown = []

    def traced(targets):
        shown.append(targets._repr_html_())
        return targets.count

    shapes = jax.eval_shape(lambda targets: targets, FOUND)
    jax.eval_shape(traced, FOUND)
    assert shown == [None]
    assert shapes._repr_html_() is None


def test_an_unmixer_shows_the_settings_that_its_method_uses():
    prior, sensor = ScenePrior(max_targets=3), Sensor(read_noise=2.0)
    options = {"sensor": sensor, "prior": prior, "effort": QUICK, "seed": 7}
    facts = dict(cells(Unmixer(method="posterior", **options)._repr_html_()))
    assert list(facts) == ["method", "sensor", "prior", "effort", "seed", "refine"]
    assert facts["method"] == "posterior"
    assert "read_noise 2.0" in facts["sensor"]
    assert "max_targets 3" in facts["prior"]
    assert facts["effort"] == "particles 128, levels 6, moves 10"
    assert facts["seed"] == "7"
    model = create("nnls", rngs=parameter_rngs(0))
    facts = dict(cells(Unmixer(model=model, threshold=62.5)._repr_html_()))
    assert list(facts) == ["method", "model", "threshold", "sensor"]
    assert (facts["model"], facts["threshold"]) == ("Nnls", "62.5 counts")


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "a & b"])
def test_shown_names_are_escaped(name):
    solver = create("nnls", rngs=parameter_rngs(0))
    type_named_so = type(name, (type(solver),), {})
    model = type_named_so(factor=3, sensor=Sensor(), rngs=parameter_rngs(0))
    html = Unmixer(model=model)._repr_html_()
    assert name not in html
    assert dict(cells(html))["model"] == name


def test_numpy_arrays_are_shown_like_jax_arrays():
    assert jax.tree.map(np.asarray, FOUND)._repr_html_() == FOUND._repr_html_()
