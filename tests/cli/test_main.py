import os
import shlex
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import pytest

from distax.cli.main import main

COMMANDS = (
    "quickstart",
    "samples",
    "build-dataset",
    "train",
    "evaluate",
    "unmix",
    "track",
    "calibrate",
    "convert",
    "export",
)
NEEDED = {
    "calibrate": ("in.npy",),
    "convert": ("in.npz", "out.safetensors"),
    "export": ("out.distax",),
    "track": ("in.npy",),
}


def run(capsys, *arguments):
    """Returns the exit status, standard output and standard error of a command."""
    try:
        main(arguments)
        status = 0
    except SystemExit as exit_:
        status = exit_.code
        if isinstance(status, str):  # what the interpreter does with a message
            print(status, file=sys.stderr)
            status = 1
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_help_names_every_command(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0
    assert all(command in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(capsys, command):
    status, out, _ = run(capsys, command, "--help")
    assert status == 0
    assert f"usage: distax {command}" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_is_an_error(capsys, command):
    status, _, err = run(capsys, command, *NEEDED.get(command, ()), "--stepz", "3")
    assert status == 2
    assert "--stepz" in err


def test_errors_are_one_line_and_status_1(capsys, tmp_path):
    status, out, err = run(capsys, "evaluate", "--checkpoint", str(tmp_path))
    assert (status, out) == (1, "")
    assert err.startswith(f"distax: {tmp_path}/last: no checkpoint there")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("unmix a.npy --csv a.npy", "--csv: a.npy is also an input; name another file"),
        ("unmix b.npy --json link --report a.npy", "--report: a.npy is also the file of --json"),
        (
            "unmix b.npy --csv a.npy/y.csv",
            "a.npy/y.csv: cannot be written, as a.npy is not a folder",
        ),
        ("track a.npy --figure a.npy", "--figure: a.npy is also an input; name another file"),
        (
            "evaluate --sensor a.npy --json a.npy",
            "--json: a.npy is also an input; name another file",
        ),
        ("calibrate b.npy --dark a.npy --out a.npy", "--out: a.npy is also an input; name another"),
        ("calibrate a.npy --out c --json c", "--json: c is also the file of --out; name another"),
        ("export a.npy --sensor a.npy", "TARGET: a.npy is also an input; name another file"),
        ("convert a.safetensors a.safetensors", "TARGET: a.safetensors is also an input; name"),
        ("unmix b.npy --checkpoint a.npy --json a.npy", "--json: a.npy is also an input; name"),
        ("unmix b.npy --mask a.npy --residual a.npy", "--residual: a.npy is also an input; name"),
        ("track b.npy --checkpoint a.npy --csv a.npy", "--csv: a.npy is also an input; name"),
        ("track b.npy --mask a.npy --csv a.npy", "--csv: a.npy is also an input; name another"),
        ("evaluate --checkpoint a.npy --figure a.npy", "--figure: a.npy is also an input; name"),
        ("evaluate --model.module a.npy --json a.npy", "--json: a.npy is also an input; name"),
        ("calibrate b.npy --mask a.npy --json a.npy", "--json: a.npy is also an input; name"),
        ("calibrate b.npy --dark . --out a.npy", "--out: a.npy is also an input; name another"),
        ("samples --out a.npy", "a.npy/truth.csv: cannot be written, as a.npy is not a folder"),
        ("quickstart --run-dir a.npy", "a.npy/figure.png: cannot be written, as a.npy is not a f"),
        ("quickstart --steps 0", "steps must be greater than 0, got 0"),
        (f"evaluate --seed {2**70}", "seed must be from 0 to 2**32 - 1"),
    ],
)
def test_outputs_and_sizes_are_checked_before_the_work(
    arguments, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.npy").touch()
    (tmp_path / "link").symlink_to("a.npy")
    status, out, err = run(capsys, *arguments.split())
    assert (status, out) == (1, "")
    assert err.startswith(f"distax: {message}")
    assert err.count("\n") == 1


def test_a_missing_package_is_named_in_one_line(capsys, monkeypatch):
    def without_gcsfs(self):
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr("distax.cli.evaluate.Evaluate.run", without_gcsfs)
    assert run(capsys, "evaluate") == (
        *(1, ""),
        "distax: a package is missing (Please install gcsfs to access Google Storage); install it "
        "and try again\n",
    )


@pytest.mark.parametrize("name", ["tpu", "foo"])
def test_a_platform_that_is_not_there_is_told_in_one_line(name):
    result = subprocess.run(
        [Path(sys.executable).with_name("distax"), "evaluate", "--images", "2"],
        env=os.environ | {"JAX_PLATFORMS": name},
        capture_output=True,
        text=True,
    )
    line = result.stderr.splitlines()[-1]
    assert line.startswith("distax: JAX has no device (Unable to initialize backend")
    assert line.endswith("; set the variable JAX_PLATFORMS to cpu, or remove it")
    assert "Traceback" not in result.stderr
    assert result.returncode == 1


def test_a_deleted_current_folder_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("distax.cli.evaluate.Evaluate.run", lambda self: os.getcwd())
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    line = "distax: the current folder does not exist any more; change to another one\n"
    assert run(capsys, "evaluate") == (1, "", line)


def test_an_interrupt_from_the_keyboard_has_its_status(capsys, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("distax.cli.evaluate.Evaluate.run", interrupted)
    assert run(capsys, "evaluate")[0] == 130


def test_warnings_are_one_line_on_standard_error():
    code = (
        "import warnings, distax\n"
        "from distax.cli.evaluate import Evaluate\n"
        "from distax.cli.main import main\n"
        "Evaluate.run = lambda self: warnings.warn('mind this', distax.DistaxWarning)\n"
        "main(['evaluate'])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "distax: mind this\n")


def test_the_format_of_warnings_is_restored(capsys, monkeypatch):
    usual = warnings.formatwarning
    monkeypatch.setattr("distax.cli.evaluate.Evaluate.run", lambda self: None)
    main(["evaluate"])
    assert warnings.formatwarning is usual


def test_the_installed_command_starts_without_the_heavy_packages():
    code = (
        "import sys; sys.argv = ['distax', '--help']\n"
        "from distax.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'orbax', 'grain', 'tensorflow_datasets', 'matplotlib', 'tensorboardX', 'PIL'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.endswith("[]\n"), result.stderr


def test_ctrl_c_ends_any_command_with_a_line(monkeypatch, capsys):
    def interrupt(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("distax.cli.convert.Convert.run", interrupt)
    assert run(capsys, "convert", *NEEDED["convert"]) == (130, "", "distax: interrupted\n")


def test_lack_of_memory_is_one_line_and_another_fault_is_not_hidden(monkeypatch, capsys):
    def fail(self):
        raise error

    monkeypatch.setattr("distax.cli.convert.Convert.run", fail)
    error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")
    status, _, err = run(capsys, "convert", "a.npz", "b.safetensors")
    assert status == 1
    assert err == (
        "distax: the memory does not suffice (RESOURCE_EXHAUSTED: Out of memory allocating 9 "
        "bytes.); take a smaller batch, model or image\n"
    )
    error = jax.errors.JaxRuntimeError("INTERNAL: a fault")
    with pytest.raises(jax.errors.JaxRuntimeError, match="a fault"):
        run(capsys, "convert", "a.npz", "b.safetensors")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "a\nb"), r"a\nb: Permission denied"),
        (OSError(5, "Input/output error"), "Input/output error: a file cannot be read or written"),
        (OSError("lost"), "lost: a file cannot be read or written"),
    ],
)
def test_a_failure_of_a_file_is_not_called_one_of_the_output(monkeypatch, capsys, error, line):
    def fail(self):
        print("begun")
        raise error

    monkeypatch.setattr("distax.cli.convert.Convert.run", fail)
    assert run(capsys, "convert", *NEEDED["convert"]) == (1, "begun\n", f"distax: {line}\n")


# What a command prints to a reader that has ended, to a full disk, and without letters.
STREAMS = {
    "head": ("{command} | head -1; exit ${{PIPESTATUS[0]}}", 128 + signal.SIGPIPE, ""),
    "full": (
        "{command} > /dev/full",
        1,
        "distax: No space left on device: the output cannot be written\n",
    ),
    "ascii": ("PYTHONIOENCODING=ascii {command} > /dev/null", 0, ""),
    "closed": ("{command} >&-", 0, ""),
}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no such device here")
@pytest.mark.parametrize("name", STREAMS)
def test_the_output_may_go_anywhere(name):
    code = (
        "from distax.cli.evaluate import Evaluate; from distax.cli.main import main; "
        "Evaluate.run = lambda self: print('± 0.5\\n' * 10**5); main(['evaluate'])"
    )
    line, status, error = STREAMS[name]
    command = shlex.join([sys.executable, "-c", code])
    done = subprocess.run(
        ["bash", "-c", line.format(command=command)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (status, error)


def test_a_mistyped_command_or_option_has_advice_of_its_own(capsys):
    status, _, err = run(capsys, "unmx", "a.npy")
    assert status == 1
    assert err.startswith("distax: unknown command 'unmx': did you mean 'unmix'? known are ")
    assert err.count("\n") == 1
    status, _, err = run(capsys, "unmix", "a.npy", "--metod", "fast")
    assert status == 2
    assert "--method {None,fast,posterior,refine,grid}" in err
    assert "distax evaluate" not in err
    assert err.count("For full helptext") == 1
