import json
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import jax
import numpy as np
import pytest

from distax import Sensor, Unmixer
from distax.cli.main import main
from distax.cli.scoring import FoundRows
from distax.datasets import csist100k
from distax.evaluation import assess, evaluate
from distax.evaluation.assessment import assess_rows
from distax.evaluation.devices import Rows
from distax.evaluation.tables import latex_row
from distax.fitting.estimators import Posterior
from distax.imaging.scenes import ScenePrior, simulate
from distax.runtime.progress import PatientBar
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
            "--latex",
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
    half = np.diff(expected.intervals["psnr"])[0] / 2
    assert f"PSNR {expected.psnr:.2f} ± {half:.2f} dB" in out
    assert f"{100 * expected.rates['0.25']['recall']:.1f}±" in out
    assert out.endswith(f"{latex_row(expected, str(tiny_run))}\n")


def test_a_method_that_comes_with_distax_needs_no_checkpoint(tmp_path, monkeypatch, capsys):
    def exact(self, images, sensor, prior):
        """Returns the true targets of the scenes of seed 7."""
        return simulate(jax.random.key(7), 40)[1]

    monkeypatch.setattr(Posterior, "portion_size", 40)
    monkeypatch.setattr(Posterior, "__call__", exact)
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


def test_a_dataset_is_scored_in_parts_like_a_whole(tiny_run, tmp_path, monkeypatch):
    data, name = tmp_path / "data", "simulated_seed3_1_1_30"
    csist100k.build(name, data)
    images, truth = csist100k.read_split(csist100k.open_split(name, "test", data))
    read, ranges = csist100k.read_rows, []

    def note(source, start, stop):
        ranges.append((start, stop))
        return read(source, start, stop)

    monkeypatch.setattr(csist100k, "read_rows", note)
    monkeypatch.setattr("distax.evaluation.devices.IMAGES_A_CALL", 1)
    model, _ = load_model(tiny_run)
    expected = evaluate(
        model, images[:20], jax.tree.map(lambda leaf: leaf[:20], truth), prior=PRIOR
    )
    path = tmp_path / "a.json"
    options = ["--dataset", name, "--data-dir", str(data), "--images", "20", "--json", str(path)]
    main(["evaluate", "--checkpoint", str(tiny_run), *options])
    result = json.loads(path.read_text())
    assert {key: result[key] for key in expected.to_dict()} == expected.to_dict()
    assert result["data"] == f"{name}/test"
    assert ranges[0][0] == 0
    assert max(stop for _, stop in ranges) == 20


def test_two_processes_score_like_one(tiny_run, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    options = ["evaluate", "--checkpoint", str(tiny_run), "--images", "20"]
    cluster = ["--distributed", "--cluster.coordinator", address, "--cluster.process-count", "2"]
    processes = [
        subprocess.Popen(
            [
                *(Path(sys.executable).with_name("distax"), *options, *cluster),
                *("--cluster.process-id", str(number), "--json", tmp_path / f"{number}.json"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    printed = [process.communicate(timeout=240)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    main([*options, "--json", str(tmp_path / "one.json")])
    assert json.loads((tmp_path / "0.json").read_text()) == json.loads(
        (tmp_path / "one.json").read_text()
    )
    assert "20 images" in printed[0]
    assert "20 images" not in printed[1]
    assert not (tmp_path / "1.json").exists()


@pytest.mark.parametrize("count", [5, 1000])
def test_estimators_are_scored_in_parts_like_a_whole(count):
    images, truth = jax.tree.map(np.asarray, simulate(jax.random.key(2), 40))
    unmixer = Unmixer()

    class Parts(Rows):
        def __len__(self):
            return 40

        def read(self, start, stop):
            held = images[start:stop], jax.tree.map(lambda leaf: leaf[start:stop], truth)
            return held

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("distax.evaluation.devices.IMAGES_A_CALL", count)
        found = unmixer(images)
        assert _score(Parts(), unmixer) == assess(found, truth, Sensor(), PRIOR)


def _score(rows, unmixer):
    """Scores by `assess_rows`, as `evaluate` does for methods without a model to score."""
    with PatientBar("image", len(rows)) as progress:
        return assess_rows(FoundRows(unmixer, rows, progress), unmixer.sensor, unmixer.prior)
