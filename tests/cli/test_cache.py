import os
import subprocess
import sys
from pathlib import Path

import pytest

from distax.cli.cache import default_folder
from distax.cli.main import main

# A command that compiles something, with a cache of its own.
CODE = "from distax.cli.main import main; main(['evaluate', '--method', 'refine', '--images', '4'])"


def run(environment):
    return subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=environment
    )


def test_the_folder_is_the_user_s_and_this_cpu_s(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_folder().parent == tmp_path / "distax"
    first = default_folder()
    monkeypatch.setattr(Path, "read_text", lambda *args, **options: "flags : sse avx512f\n")
    assert default_folder() != first


def test_programs_are_kept_for_the_next_run_in_silence(monkeypatch, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_C", "TF_CPP"))}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    first = run(environment)
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("distax/*/*-cache")}
    assert any(name.startswith("jit_refine") for name in kept)
    second = run(environment)
    # What took just less than is worth keeping may be added by a slower second run.
    again = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("distax/*/*-cache")}
    assert kept.items() <= again.items()
    assert second.stdout == first.stdout
    assert first.stderr == second.stderr == ""


def test_help_tells_where(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    told = "".join(capsys.readouterr().out.split())
    assert str(default_folder()).replace(" ", "") in told
    assert "JAX_COMPILATION_CACHE_DIR" in told
