"""The commands in the manifests are commands of distax."""

import re
import shlex
from pathlib import Path

import pytest

from distax.cli.main import main
from distax.cli.train import Train

FOLDER = Path(__file__).parents[2] / "experiments/cluster"


def command_of(manifest):
    """The words of the manifest's `distax train`, whose list JobSet wants an item a line."""
    text = (FOLDER / manifest).read_text().replace('"$SCRATCH/runs/dista_c3"', "runs/dista_c3")
    if manifest.endswith(".yaml"):
        items = re.findall(r"^ +- (?:\"(.*)\"|(\S+))$", text, re.MULTILINE)
        words = [quoted or plain for quoted, plain in items]
        return words[words.index("distax") + 1 :]
    (command,) = re.findall(r"distax (train --.*?)(?:\"| \|\||$)", text, re.MULTILINE)
    return shlex.split(command)


@pytest.mark.parametrize("manifest", ["gke_jobset.yaml", "slurm.sbatch", "tpu_queued_resource.sh"])
def test_a_manifest_starts_a_run_that_a_restart_goes_on_with(manifest, monkeypatch):
    started = []
    monkeypatch.setattr(Train, "run", lambda self: started.append(self))
    main(command_of(manifest))
    (run,) = started
    assert run.distributed
    assert run.auto_resume
    assert run.run_dir.endswith("dista_c3")
    assert run.settings.batch_size == 1024
    assert run.settings.model.factor == 3
