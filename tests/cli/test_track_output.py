import jax.numpy as jnp
import numpy as np
from matplotlib.image import imread

from distax import make_targets
from distax.cli.track_output import draw_trajectories


def test_a_pixel_that_is_bad_in_all_frames_is_left_blank(tmp_path):
    frames = np.ones((3, 11, 11)) * np.arange(11)
    frames[:, 4, 4] = np.nan
    none = make_targets(jnp.zeros((3, 1, 2)), jnp.zeros((3, 1)), jnp.zeros((3, 1), bool))
    draw_trajectories(tmp_path / "a.png", frames, none, [])
    assert imread(tmp_path / "a.png").shape == (672, 768, 4)
