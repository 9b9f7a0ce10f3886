"""The manifests can be parsed, and their commands are commands of distax."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from distax.cli.main import main
from distax.cli.train import Train

FOLDER = Path(__file__).parents[2] / "experiments/cluster"


MANIFESTS = sorted(path for path in FOLDER.iterdir() if path.suffix != ".md")


def command_of(manifest):
    """Returns the words of the manifest's `distax train` command."""
    text = manifest.read_text()
    if manifest.suffix == ".yaml":
        (job,) = yaml.safe_load_all(text)
        pod = job["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]
        return pod["spec"]["containers"][0]["command"][1:]
    subprocess.run(["bash", "-n", manifest], check=True)
    text = text.replace('"$SCRATCH/runs/dista_c3"', "runs/dista_c3")
    (command,) = re.findall(r"distax (train --.*?)(?:\"| \|\||$)", text, re.MULTILINE)
    return shlex.split(command)


def test_there_are_manifests():
    assert len(MANIFESTS) >= 3


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
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
