import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from distax import DistaxError, Sensor, make_targets, render
from distax.evaluation import Evaluation
from distax.viz.figures import (
    ROW_SIZE,
    compare,
    draw_evaluation,
    draw_image_rows,
    evaluation_figure,
    save_figure,
)

LEVELS = {"0.50": 0.48, "0.90": 0.91, "0.95": 0.955}
GROUP = {
    "images": 40,
    "count_accuracy": 1.0,
    "cso_map_by_score": 0.5,
    "ap_by_score": {"0.05": 0.5},
    "rmse": 0.02,
    "bound": 0.01,
    "within": {"0.05": 0.5},
}
CURVE = {"detections": [1, 3], "reported": [0.2, 1.0], "realised": [0.0, 1.0]}


@pytest.mark.parametrize("stated", [True, False])
def test_a_panel_for_each_thing_that_is_known(stated, tmp_path):
    group = GROUP | {"coverage": LEVELS if stated else None}
    result = Evaluation(
        **group,
        cso_map=0.5,
        ap={"0.05": 0.5},
        reliability={"0.05": CURVE} if stated else None,
        by_count={"1": group, "2": group | {"bound": None}, "0": group | {"rmse": None}},
    )
    titles = [ax.get_title() for ax in evaluation_figure(result).axes]
    confidence = ["Credible regions", "Hit probabilities"] if stated else []
    assert titles == ["Position error", *confidence]
    draw_evaluation(tmp_path / "a.png", result)
    height, width, _ = imread(tmp_path / "a.png").shape
    assert round(width / height) == (3 if stated else 1)


@pytest.mark.parametrize("name", ["picture", "picture.xyz", "picture.PNG"])
def test_a_name_without_a_known_suffix_is_refused_and_nothing_is_left(name, tmp_path):
    with pytest.raises(DistaxError, match=r"no format of pictures.* known are \.png, \.pdf, \.svg"):
        save_figure(tmp_path / name, Figure())
    assert not list(tmp_path.iterdir())


def test_a_pixel_to_leave_out_leaves_the_rest_of_an_image_as_it_was(tmp_path):
    found = make_targets(jnp.float32([[[5.2, 4.7]]] * 2), jnp.full((2, 1), 240.0))
    images = np.array(render(found, Sensor()))
    images[1, 0, 0] = np.nan
    figure = Figure()
    draw_image_rows(figure, images, found, Sensor(), ["whole", "a$_$b"])
    (whole, *_), (bad, *_) = np.reshape([ax for ax in figure.axes if ax.get_title()], (2, 4))
    assert bad.images[0].get_clim() == whole.images[0].get_clim() == (0, images[0].max())
    save_figure(tmp_path / "a.png", figure)


def test_expected_counts_clip_but_do_not_round_and_the_residual_has_the_noise_as_its_unit():
    sensor = Sensor(saturation=100.0, read_noise=2.0, background=10.0)
    found = make_targets(jnp.float32([[[5.2, 4.7]]]), jnp.full((1, 1), 240.0))
    exact = np.array(render(found, Sensor())) + 10
    expected, deviation = compare(np.minimum(exact, 100) + np.float32(3), found, sensor)
    np.testing.assert_allclose(expected, np.minimum(exact, 100), rtol=1e-5)
    assert exact.max() > 100
    np.testing.assert_allclose(deviation, 3 / np.sqrt(2**2 + 1 / 12), rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "shown"), [("a.fits [0]",) * 2, ("x" * 40 + "_end.fits [3]", None)]
)
def test_a_long_name_is_shortened_in_the_middle_of_a_title(name, shown):
    found = make_targets(jnp.float32([[[5.2, 4.7]]]), jnp.full((1, 1), 240.0))
    figure = Figure(figsize=ROW_SIZE, layout="constrained")
    draw_image_rows(figure, np.array(render(found, Sensor())), found, Sensor(), [name])
    figure.draw_without_rendering()
    title = figure.axes[0].title
    assert title.get_text() == (shown or "x" * 12 + "…" + "_end.fits [3]")
    assert title.get_window_extent().x0 >= 0
