import json
from dataclasses import asdict, replace

import jax
import pytest

from distax import Sensor
from distax.cli.main import main
from distax.evaluation import evaluate
from distax.fitting.estimators import Posterior
from distax.imaging.scenes import ScenePrior, simulate
from distax.training.checkpoints import load_model
from distax.weights import write

PRIOR = ScenePrior()


def test_json_and_table_have_the_evaluation(tiny_run, tmp_path, capsys):
    path = tmp_path / "a.json"
    main(
        [
            "evaluate",
            "--checkpoint",
            str(tiny_run),
            "--images",
            "40",
            "--seed",
            "7",
            "--threshold",
            "20",
            "--json",
            str(path),
            "--figure",
            str(tmp_path / "a.png"),
        ]
    )
    model, _ = load_model(tiny_run)
    expected = evaluate(model, *simulate(jax.random.key(7), 40), Sensor(), 20.0, prior=PRIOR)
    result = json.loads(path.read_text())
    about = {
        "method": "grid",
        "checkpoint": str(tiny_run),
        "sensor": asdict(Sensor()),
        "prior": None,
        "data": None,
        "seed": 7,
        "threshold": 20.0,
    }
    assert result == about | expected.to_dict()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    out = capsys.readouterr().out
    assert f"{100 * expected.cso_map:.2f}" in out
    assert f"PSNR {expected.psnr:.2f} dB" in out


def test_a_method_that_comes_with_distax_needs_no_checkpoint(tmp_path, monkeypatch, capsys):
    class Exact:
        """Replaces the estimators: returns the true targets of the scenes of seed 7."""

        sensor, prior, model, threshold = Sensor(), PRIOR, None, 50.0
        assumed_prior = PRIOR
        estimator = Posterior()

        def __init__(self, method, sensor, prior):
            self.method = method

        def __call__(self, images, advance):
            advance(len(images))
            return simulate(jax.random.key(7), len(images))[1]

    monkeypatch.setattr("distax.unmixer.Unmixer", Exact)
    path = tmp_path / "a.json"
    arguments = ["--method", "posterior", "--images", "40", "--seed", "7", "--json", str(path)]
    main(["evaluate", *arguments])
    result = json.loads(path.read_text())
    assert (result["method"], result["checkpoint"], result["psnr"]) == ("posterior", None, None)
    assert result["cso_map"] == pytest.approx(1.0)
    assert result["prior"]["max_targets"] == PRIOR.max_targets
    assert "posterior, 40 images" in capsys.readouterr().out


def test_no_images_is_an_error(tiny_run):
    with pytest.raises(SystemExit, match="distax: images must be greater than 0"):
        main(["evaluate", "--checkpoint", str(tiny_run), "--images", "0"])


def test_an_unknown_dataset_is_an_error(tiny_run):
    with pytest.raises(SystemExit, match="distax: unknown CSIST-100K configuration 'simulatd'"):
        main(["evaluate", "--checkpoint", str(tiny_run), "--dataset", "simulatd"])


def test_a_dataset_and_a_sensor_contradict_each_other():
    with pytest.raises(SystemExit, match="distax: dataset simulated was taken by CSIST-100K's"):
        main(["evaluate", "--dataset", "simulated", "--sensor", "any.toml"])


def test_a_dataset_and_a_checkpoint_for_another_sensor_contradict_each_other(tiny_run, tmp_path):
    model, config = load_model(tiny_run)
    path = tmp_path / "other.safetensors"
    write(model, replace(config, sensor=Sensor(sigma=0.6)), path)
    with pytest.raises(SystemExit, match=r"other.safetensors was trained for Sensor\(.*sigma=0.6"):
        main(["evaluate", "--checkpoint", str(path), "--dataset", "simulated"])


@pytest.mark.parametrize("option", ["--dataset", "--figure", "--images", "--sensor", "--threshold"])
def test_frames_refuse_options_of_images(option):
    with pytest.raises(SystemExit, match=f"distax: {option} is for images and has no effect on"):
        main(["evaluate", "--frames", "1", option, "5"])


def test_a_figure_that_cannot_be_drawn_is_refused_before_anything_is_scored():
    with pytest.raises(SystemExit, match=r"distax: a\.xyz: no format of pictures"):
        main(["evaluate", "--checkpoint", "none", "--figure", "a.xyz"])
