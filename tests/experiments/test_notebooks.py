"""The notebooks run from top to bottom, made short, and are stored as they ran."""

import json
import re

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from tests.pages import ROOT

PATHS = sorted((ROOT / "experiments/notebooks").glob("*.ipynb"))
LARGEST = 400_000
# The parameters, which stand alone in the first cell of code.
SMALL = {
    "from_a_blob_to_targets": {"IMAGES": 40},
    "train_your_own_model": {"STEPS": 2, "IMAGES": 20},
}
STRICT = ["import warnings", "warnings.simplefilter('error')"]
each = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def runner(experiment):
    return experiment("run_notebooks")


@pytest.fixture(scope="module")
def ran(runner):
    """The text that each notebook prints with small parameters, warnings being errors."""

    def run(path):
        notebook, small = read(path), SMALL[path.stem]
        first = runner.code_cells(notebook)[0]
        assert [line.split(" = ")[0] for line in first.source.splitlines()] == list(small)
        values = [f"{name} = {value}" for name, value in small.items()]
        first.source = "\n".join([*STRICT, *values])
        runner.execute(notebook)
        return printed(notebook)

    return {path.stem: run(path) for path in PATHS}


def read(path):
    return nbformat.read(path, as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def printed(notebook):
    streams = (output for output in outputs(notebook) if output.output_type == "stream")
    return "".join(output["text"] for output in streams)


def figures(text, row):
    """The numbers that a printed row holds behind its name."""
    (line,) = re.findall(rf"^{row} +(.*)$", text, re.MULTILINE)
    return [float(number) for number in re.findall(r"-?\d+\.\d+", line)]


def test_the_first_counts_targets_and_distrusts_another_sensor(ran):
    text = ran["from_a_blob_to_targets"]
    for count in range(1, 6):
        for prior_count, misfit in zip((2, 3, 4), figures(text, f"truly {count}:"), strict=True):
            assert misfit < 2 if prior_count == count else misfit > 10
    before, now = figures(text, "trusted:")
    assert before > 90
    assert now < 5
    assert "DistaxWarning: the median misfit of 200 images" in text


def test_the_second_trains_a_model_and_compares_it(ran):
    text = ran["train_your_own_model"]
    assert "(11, 11) to (33, 33)" in text
    assert "step 2/2" in text
    own, ceiling = figures(text, "this model"), figures(text, "the ceiling of the grid")
    assert own[0] < ceiling[0] < figures(text, "density, off the grid")[0]


@each
def test_stored_outputs_are_those_of_the_stored_code(path, runner):
    notebook = read(path)
    nbformat.validate(notebook)
    code = runner.code_cells(notebook)
    assert notebook.metadata.code_sha256 == runner.code_sha256(notebook)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert {output.output_type for output in outputs(notebook)} == {
        "display_data",
        "execute_result",
        "stream",
    }
    text = json.dumps(outputs(notebook))
    assert '"name": "stderr"' not in text
    assert text.count('"image/png"') >= 2
    assert not re.search(r"/(home|root|tmp|usr|work)/|\.venv|ipykernel", text)


@each
def test_it_is_small_enough_to_be_shown(path):
    assert path.stat().st_size < LARGEST


def test_changed_code_changes_the_hash(runner):
    notebook = read(PATHS[0])
    runner.code_cells(notebook)[-1].source += "\n"
    assert notebook.metadata.code_sha256 != runner.code_sha256(notebook)


def test_the_stored_scores_are_in_the_order_of_the_text():
    text = printed(read(ROOT / "experiments/notebooks/train_your_own_model.ipynb"))
    rows = ("this model", "the ceiling of the grid", "cfgn", "density, off the grid")
    scores = [figures(text, row)[0] for row in rows]
    assert scores == sorted(scores)
    assert scores[0] > 35
    assert figures(text, "density, off the grid")[-1] > 99


def test_a_run_stores_the_outputs_whole(runner, tmp_path):
    notebook = nbformat.v4.new_notebook()
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    notebook.cells = [nbformat.v4.new_code_cell(f"print({number})") for number in (1, 2)]
    path = tmp_path / "a.ipynb"
    nbformat.write(notebook, path)
    runner.main([path])
    stored = read(path)
    assert printed(stored) == "1\n2\n"
    assert stored.metadata.code_sha256 == runner.code_sha256(notebook)
    notebook.cells[1].source = "1 / 0"
    nbformat.write(notebook, path)
    with pytest.raises(CellExecutionError, match="division by zero"):
        runner.main([path])
    assert not outputs(read(path))
