"""The README's snippets run as written, quickstart and training made short."""

import json
import shutil
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.io import fits

from distax import Sensor, expose, tracking
from distax.frames.simulation import FrameScene, simulate_frame
from distax.imaging.scenes import ScenePrior, simulate
from distax.unmixer import Unmixer
from tests.pages import ROOT, blocks, links, run_line

README = (ROOT / "README.md").read_text()
BLOCKS = blocks(README)
SHELL = [
    line
    for language, label, text in BLOCKS
    if language == "sh" and not label
    for line in text.splitlines()
]
PYTHON = [text for language, label, text in BLOCKS if language == "python" and not label]
# Files that the text names, which its commands go on to use.
FILES = {label: text for language, label, text in BLOCKS if language != "sh" and label}
# Options that make a command short; they change how much is done, not what.
SMALL = "--steps 2 --batch-size 8 --eval-every 100 --eval-images 20"
SHORTER = {
    "quickstart": "--steps 2 --images 40",
    "train --run-dir runs/small": f"{SMALL} --model.options stages 1 channels 4",
    "train --run-dir runs/edsr": f"{SMALL} --model.options window 7 channels 4 blocks 1",
    "train --run-dir runs/blurred": f"{SMALL} --model.options window 5 channels 8 blocks 2",
    "train --run-dir runs/upsampler": SMALL,
    "train --run-dir runs/dista_c3": f"{SMALL} --model.options.stages 1 --model.options.channels 4",
    "evaluate --frames": "--frames 1",
    "evaluate": "--images 20",
    "unmix frame.fits": "--prior.max-targets 2 --prior.cluster 1.0",
    "track": "--checkpoint cfgn --threshold 120",
}


def save_frame():
    pixels, _ = simulate_frame(jax.random.key(0), FrameScene(height=96, width=96, clusters=3))
    fits.PrimaryHDU(np.asarray(pixels, np.float32)).writeto("frame.fits")


def save_sequence():
    prior = tracking.MotionPrior(placement=ScenePrior(max_targets=1))
    np.save("frames.npy", tracking.simulate(jax.random.key(0), 1, prior=prior)[0][0])


def save_calibration_frames():
    sensor = Sensor(read_noise=1.0, gain=4.0, background=10.0)
    prior = ScenePrior(max_targets=1)
    np.save("isolated.npy", simulate(jax.random.key(0), 40, sensor, prior)[0])
    np.save("blobs.npy", simulate(jax.random.key(1), 3, sensor, prior)[0])
    for name, level in {"dark": 0.0, "flat50": 40.0, "flat150": 140.0}.items():
        light = replace(sensor, background=0.0) if name == "dark" else sensor
        np.save(name, expose(jax.random.key(2), jnp.full((6, 20, 20), level), light))


# The user's own files that some blocks read.
OWN_DATA = {
    "frames": save_frame,
    "outputs": save_frame,
    "sequences": save_sequence,
    "calibrate": save_calibration_frames,
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder as a user's, with the experiments, the released images and a quickstart."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    shutil.copytree(ROOT / "tests/reference/csist100k_layout", folder / "CSIST-100K")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, text in FILES.items():
            (folder / name).write_text(text)
        run_line("distax quickstart", SHORTER)
    return folder


def test_the_setup_commands_are_there_and_quickstart_is_one_of_them():
    labels = {label: text for language, label, text in BLOCKS if language == "sh" and label}
    assert labels.keys() == {"quickstart", "tests", "docs", "convert", *OWN_DATA}
    assert labels["quickstart"].rstrip().endswith(".venv/bin/distax quickstart")
    assert all(len(labels[label].splitlines()) == 1 for label in ("quickstart", "tests"))
    assert FILES.keys() == {"upsampler.py", "upsampler.toml"}


def test_every_command_line_is_distax():
    assert len(SHELL) >= 8
    assert all(line.startswith("distax ") for line in SHELL)


def test_the_commands_run_as_written(workplace, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    # The full dataset takes half a minute to build; a smaller one stands in under its name.
    from distax.datasets.csist100k import configs

    for split, size in {"train": 64, "validation": 24, "test": 24}.items():
        monkeypatch.setattr(configs.PREDEFINED["simulated"], split, size)
    for line in SHELL:
        run_line(line, SHORTER)
    assert (workplace / "targets.csv").read_text().startswith("file,image,row,column")
    assert (workplace / "evaluation.json").is_file()
    assert (workplace / "targets.png").is_file()


def test_the_conversions_run_as_written(workplace, monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(workplace)
    with np.load(ROOT / "tests/reference/zoo/edsr.npz") as file:
        arrays = {name[8:]: file[name] for name in file if name.startswith("weights/")}
    state = {name: torch.from_numpy(array.astype("float32")) for name, array in arrays.items()}
    torch.save({"state_dict": state}, "edsr.pth")
    for line in {label: text for _, label, text in BLOCKS}["convert"].splitlines():
        run_line(line, SHORTER)
    assert Unmixer.load("edsr.safetensors").method == "grid"


@pytest.mark.parametrize("label", OWN_DATA)
def test_the_commands_for_own_data_run_as_written(tmp_path, monkeypatch, capsys, label):
    monkeypatch.chdir(tmp_path)
    OWN_DATA[label]()
    for line in {label: text for _, label, text in BLOCKS}[label].splitlines():
        run_line(line, SHORTER)
    assert capsys.readouterr().out


@pytest.mark.parametrize("index", range(len(PYTHON)))
def test_the_python_snippets_run_as_written(workplace, monkeypatch, capsys, index):
    monkeypatch.chdir(workplace)
    exec(compile(PYTHON[index], f"README snippet {index}", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out


def test_the_benchmark_table_is_that_of_the_results():
    results = json.loads((ROOT / "experiments/results/benchmarks_cpu.json").read_text())
    for figure in results["figures"]:
        name = f"{figure['name']}, {figure['amount']:,} {figure['unit']}"
        rate = figure["amount"] / figure["seconds"]
        assert f"| {name} | {figure['seconds']:.3g} s | {rate:,.0f} /s |" in README


def test_the_estimators_table_is_that_of_the_results():
    results = json.loads((ROOT / "experiments/results/estimators_cpu.json").read_text())
    for figure in results["figures"]:
        scores = (figure[key] for key in ("by_score", "ap05", "by_intensity", "count_accuracy"))
        cells = " | ".join(f"{100 * score:.1f}" for score in scores)
        assert f"| {figure['name']} | {figure['images_per_second']:,.0f} | {cells} |" in README
    (sampled,) = (figure for figure in results["figures"] if figure["name"] == "posterior")
    scores = f"{100 * sampled['by_score']:.1f} and {100 * sampled['ap05']:.1f}"
    assert f"({scores} on {results['images']:,} images)" in README


def test_the_comparison_table_is_that_of_the_results():
    results = json.loads((ROOT / "experiments/results/torch_cpu.json").read_text())
    for row in results["figures"]:
        memory, seconds = row["memory"], row["compile_seconds"]
        cells = f"{row['inference']:,.0f} | {row['training']:,.0f} | "
        cells += "– | –" if memory is None else f"{memory / 1e6:,.0f} | {seconds:.0f}"
        assert f"| {row['name']} | {cells} |" in README
    torch = results["torch"].partition("+")[0]
    made = f"PyTorch {torch} in eager mode, JAX {results['jax']}, {results['date']}"
    assert f"(`python experiments/benchmarks/compare_torch.py`, {made}; figures" in README


def test_the_scores_of_variants_are_those_of_the_results():
    results = json.loads((ROOT / "experiments/results/variants.json").read_text())
    score = {row["name"]: f"{100 * row['cso_map']:.1f}" for row in results["figures"]}
    command = f"`python experiments/variants.py --steps {results['steps']}`"
    assert (
        f"the quickstart's model after {results['steps']} steps on {results['images']:,} held-out "
        f"images ({command}, figures in `experiments/results/variants.json`) has CSO-mAP "
        f"{score['float32, whole image']}; its weights with bfloat16 maps "
        f"{score['… the same weights, bfloat16 maps']}; trained with bfloat16 maps "
        f"{score['bfloat16 maps']}; with the window {score['window of 7 pixels']}, in half the time"
    ) in README
    seconds = {row["name"]: row["training_seconds"] for row in results["figures"]}
    assert 0.4 < seconds["window of 7 pixels"] / seconds["float32, whole image"] < 0.6


def test_what_a_measured_psf_is_worth_is_that_of_the_results():
    results = json.loads((ROOT / "experiments/results/measured_psf.json").read_text())
    error = {name: row["median_error"] for name, row in results["figures"].items()}
    measured, true = error["measured, 50 sources"], error["the true PSF"]
    assert (
        f"pairs of targets are located to {measured:.4f} px (median) with the PSF measured from "
        f"50 sources, to {true:.4f} px with the true one, and to "
        f"{error['a Gaussian, 50 sources']:.3f} px with the Gaussian most like it"
    ) in README


def test_what_it_links_to_is_there():
    targets = links(README)
    assert len(targets) >= 2
    assert all((ROOT / target).is_file() for target in targets)
