import json

import jax
import pytest

from distax import Sensor
from distax.cli.main import main
from distax.evaluation import evaluate
from distax.scenes import simulate
from distax.training.checkpoints import load_model


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
        ]
    )
    model, _ = load_model(tiny_run)
    expected = evaluate(model, *simulate(jax.random.key(7), 40), Sensor(), threshold=20.0)
    result = json.loads(path.read_text())
    about = {"checkpoint": str(tiny_run), "data": None, "seed": 7, "threshold": 20.0}
    assert result == about | expected.to_dict()
    out = capsys.readouterr().out
    assert f"{100 * expected.cso_map:.2f}" in out
    assert f"PSNR {expected.psnr:.2f} dB" in out


def test_no_images_is_an_error(tiny_run):
    with pytest.raises(SystemExit, match="distax: images must be greater than 0"):
        main(["evaluate", "--checkpoint", str(tiny_run), "--images", "0"])


def test_an_unknown_dataset_is_an_error(tiny_run):
    with pytest.raises(SystemExit, match="distax: unknown CSIST-100K configuration 'simulatd'"):
        main(["evaluate", "--checkpoint", str(tiny_run), "--dataset", "simulatd"])
