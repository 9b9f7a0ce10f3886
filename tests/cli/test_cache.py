import os
import subprocess
import sys
from pathlib import Path

import pytest

from distax.cli.cache import default_folder
from distax.cli.main import main

# A command that compiles a small program and prints how many programs came from the cache.
CODE = """
from distax.cli.evaluate import Evaluate
from distax.cli.main import main

def run(self):
    import jax
    events = []
    jax.monitoring.register_event_listener(lambda event, **_: events.append(event))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.jit(lambda x: x @ x)(jax.numpy.eye(3))
    print(events.count("/jax/compilation_cache/cache_hits"))

Evaluate.run = run
main(["evaluate"])
"""


def run(environment):
    return subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, env=environment
    )


def test_the_folder_is_the_user_s_and_this_cpu_s(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder().parent == tmp_path / "distax"
    first = default_folder()
    monkeypatch.setattr(Path, "read_text", lambda *args, **options: "flags : sse avx512f\n")
    assert default_folder() != first


def test_programs_are_kept_for_the_next_run_in_silence(monkeypatch, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_C", "TF_CPP"))}
    environment["XDG_CACHE_HOME"] = str(tmp_path)
    first, second = run(environment), run(environment)
    kept = list(tmp_path.glob("distax/*/*-cache"))
    assert any(path.name.startswith("jit__lambda") for path in kept)
    assert [int(first.stdout), int(second.stdout)] == [0, len(kept)]
    assert first.stderr == second.stderr == ""


def test_help_names_the_folder(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = "".join(capsys.readouterr().out.split())
    assert str(default_folder()).replace(" ", "") in shown
    assert "JAX_COMPILATION_CACHE_DIR" in shown
