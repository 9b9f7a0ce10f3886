import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from distax.cli.cache import default_folder, keep_compiled_programs
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


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """The folder of compiled programs of a user without one; JAX's settings come back."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept, values = [], {"jax_compilation_cache_dir": None}
    config = SimpleNamespace(values=values, update=lambda name, value: kept.append(value))
    monkeypatch.setattr(jax, "config", config)
    return SimpleNamespace(folder=default_folder(), kept=kept)


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_only_the_user_can_write_to_the_folder(umask, cache):
    before = os.umask(umask)
    try:
        keep_compiled_programs()
    finally:
        os.umask(before)
    for place in (cache.folder, cache.folder.parent):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert cache.kept[0] == str(cache.folder)


def test_a_folder_that_others_can_write_to_is_closed(cache):
    cache.folder.mkdir(parents=True)
    cache.folder.chmod(0o777)
    keep_compiled_programs()
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700


def test_what_others_could_have_put_there_is_deleted(cache):
    cache.folder.mkdir(parents=True)
    (cache.folder / "own-cache").touch()
    (cache.folder / "autotune").mkdir()
    os.mkfifo(cache.folder / "pipe-cache")
    (cache.folder / "link-cache").symlink_to("own-cache")
    keep_compiled_programs()
    assert sorted(path.name for path in cache.folder.iterdir()) == ["autotune", "own-cache"]
    cache.folder.parent.chmod(0o777)
    keep_compiled_programs()
    assert list(cache.folder.iterdir()) == []


def test_a_folder_that_was_not_emptied_to_the_end_is_emptied_again(cache, monkeypatch):
    cache.folder.mkdir(parents=True)
    for name in ("a-cache", "b-cache"):
        (cache.folder / name).touch()
    cache.folder.chmod(0o777)
    with monkeypatch.context() as patch:
        patch.setattr("distax.cli.cache._delete", lambda path: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            keep_compiled_programs()
    assert len(list(cache.folder.iterdir())) == 2
    keep_compiled_programs()
    assert list(cache.folder.iterdir()) == []
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only the superuser can give files away")
def test_an_entry_of_another_user_is_deleted(cache):
    cache.folder.mkdir(parents=True)
    for name in ("own-cache", "other-cache"):
        (cache.folder / name).touch()
    os.chown(cache.folder / "other-cache", 65534, 65534)
    keep_compiled_programs()
    assert [path.name for path in cache.folder.iterdir()] == ["own-cache"]


def test_a_folder_of_another_user_is_not_used(cache, monkeypatch, capsys):
    cache.folder.mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    keep_compiled_programs()
    assert cache.kept == []
    message = capsys.readouterr().err
    assert "belongs to another user; set JAX_COMPILATION_CACHE_DIR" in message
    assert message.count("\n") == 1


def test_without_a_home_nothing_is_kept(cache, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "distax.cli.cache.user_cache_path", lambda *_, **__: Path("~/.cache/distax")
    )
    keep_compiled_programs()
    assert cache.kept == []
    assert "there is no home folder" in capsys.readouterr().err
    assert not (tmp_path / "~").exists()


def test_a_full_disk_keeps_no_programs_and_is_no_trouble(tmp_path):
    code = (
        "import resource, jax; from distax.cli.cache import keep_compiled_programs;"
        "keep_compiled_programs();"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY));"
        "print(jax.jit(lambda x: x + 1)(1.0))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (result.stdout, result.stderr) == ("2.0\n", "")
