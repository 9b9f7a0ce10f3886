"""`distax train` and `distax evaluate --protocol seqcsist` on sequences."""

import json
from dataclasses import asdict

import jax
import numpy as np
import pytest

from distax import Sensor, Unmixer
from distax.cli.main import main
from distax.evaluation import SequenceProtocol, assess_sequences, evaluate_sequences
from distax.fitting.estimators import Grid
from distax.imaging.motion import SEQCSIST, simulate
from distax.runtime.progress import PatientBar
from distax.tracking import unmix_sequences
from distax.training.checkpoints import load_model

DATA = "simulated_seed0_8_1_2"
SIZES = ["channels", "4", "groups", "2", "blocks", "1", "tail_blocks", "1"]
TINY = [
    *("--model.name", "tdan", "--model.options", *SIZES),
    *("--steps", "1", "--batch-size", "8", "--eval-images", "20", "--trackers", "jsonl"),
    *("--prior.min-targets", "2", "--prior.max-targets", "4"),
]
SEQCSIST_TEST = ["evaluate", "--protocol", "seqcsist", "--sequences", "2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("data"))
    main(["build-dataset", f"seqcsist/{DATA}", "--data-dir", folder])
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("runs") / "tdan")
    options = ["--data.dataset", f"seqcsist/{DATA}", "--data.data-dir", data]
    main(["train", "--run-dir", folder, *TINY, *options])
    return folder


def evaluated(tmp_path, *options):
    main([*SEQCSIST_TEST, *options, "--json", str(tmp_path / "a.json")])
    return json.loads((tmp_path / "a.json").read_text())


def test_a_trained_model_is_scored_on_a_dataset(run, data, tmp_path, capsys):
    found = evaluated(tmp_path, "--checkpoint", run, "--dataset", DATA, "--data-dir", data)
    from distax.datasets import seqcsist

    rows = seqcsist.read_split(seqcsist.open_split(DATA, "test", data))
    expected = evaluate_sequences(load_model(run)[0], *rows)
    about = {
        "method": "sequence",
        "linked": False,
        "checkpoint": run,
        "sensor": asdict(Sensor()),
        "motion": None,
        "data": f"seqcsist/{DATA}/test",
        "seed": None,
    }
    assert found == about | expected.to_dict()
    printed = capsys.readouterr().out
    assert "DeRefNet, published (released sequences)" in printed
    assert "2 sequences, 32 images" in printed
    assert "detection rate" in printed


def test_converted_weights_answer_the_same(run, data, tmp_path):
    file = str(tmp_path / "tdan.safetensors")
    main(["convert", run, file])
    options = ["--dataset", DATA, "--data-dir", data, "--threshold", "1"]
    first, second = (
        evaluated(tmp_path, "--checkpoint", each, *options) | {"checkpoint": None}
        for each in (run, file)
    )
    assert first == second
    assert first["protocol"]["threshold"] == 1.0
    assert first["frames"]["images"] == 32


def test_any_single_frame_model_is_scored_frame_by_frame(tmp_path, capsys):
    options = ["--checkpoint", "fista", "--seed", "3", "--published-rates", "--latex"]
    found = evaluated(tmp_path, *options)
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.startswith("fista & ")
    assert f"${100 * found['frames']['cso_map']:.2f} " in row
    frames, truth = simulate(jax.random.key(3), 2, prior=SEQCSIST)
    targets = unmix_sequences(Unmixer.load("fista", 70.0), np.asarray(frames))
    protocol = SequenceProtocol(shifted_rates=True)
    expected = assess_sequences(targets, jax.tree.map(np.asarray, truth), protocol=protocol)
    assert {key: found[key] for key in expected.to_dict()} == expected.to_dict()
    assert (found["motion"]["placement"]["min_targets"], found["seed"]) == (2, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frames", "1"], "--frames has no effect on --protocol seqcsist"),
        (["--images", "1"], "--images has no effect on --protocol seqcsist"),
        (["--sequences", "0"], "sequences must be greater than 0"),
        (["--motion.frames", "4", "--checkpoint", "fista"], "a sequence of 4 frames is too short"),
        (["--motion.speed", "1"], "targets may move 19.38 px in 20 frames"),
        (["--method", "fast"], "lie anywhere in 2.76 px, because the group has moved and drifted"),
        (["--method", "fast"], "its network knows at most 2.00 px; choose refine or posterior"),
        (["--dataset", "simulated"], "`distax build-dataset seqcsist/simulated --data-dir data`"),
    ],
)
def test_what_is_wrong_is_named(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as raised:
        main([*SEQCSIST_TEST, *options])
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_bar_counts_the_sequences_that_a_model_has_answered(later, monkeypatch, tmp_path):
    done = []
    monkeypatch.setattr(PatientBar, "update", lambda self, sequences: done.append(sequences))
    module, file = map(str, later)
    found = evaluated(tmp_path, "--checkpoint", file, "--model.module", module, "--sequences", "60")
    assert done == [20, 40]
    assert found["sequences"] == 60


def test_the_bar_counts_the_frames_that_are_unmixed_on_their_own(monkeypatch, tmp_path):
    done = []
    monkeypatch.setattr(PatientBar, "update", lambda self, sequences: done.append(sequences))
    monkeypatch.setattr(Grid, "portion_size", 16)
    evaluated(tmp_path, "--checkpoint", "fista")
    assert done == [0.8, 1.6, 2.0, 2]


def test_a_model_of_sequences_needs_the_protocol(run):
    with pytest.raises(SystemExit, match="Tdan takes sequences, not single images"):
        main(["evaluate", "--checkpoint", run])
    with pytest.raises(SystemExit, match="is a model of sequences; leave --method, --linked"):
        main([*SEQCSIST_TEST, "--checkpoint", run, "--linked"])
    with pytest.raises(SystemExit, match="--linked is for sequences; add --protocol seqcsist"):
        main(["evaluate", "--linked"])
