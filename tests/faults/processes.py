"""Processes that run a command of distax, forked from one that has imported all libraries.

An interpreter takes seconds to import JAX. The processes here begin where the command line is read,
so that kills at random moments are kills of the command's own work.
"""

import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path

from platformdirs import user_cache_path

LIMIT = 600
"""Seconds after which a command counts as hanging."""
# Commands need the same programs in every trial, so all of them are kept.
os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "JAX_COMPILATION_CACHE_DIR": str(user_cache_path("distax", appauthor=False) / "faults"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
}
_SERVER = get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.faults.imports"])


class Command:
    """A command that runs in a process group of its own, so that a kill reaches its children.

    Args:
      words: words after `distax`.
      folder: working folder.
      prepare: called in the process before the command.
    """

    def __init__(
        self, words: Sequence[str], folder: Path, prepare: Callable[[], None] | None = None
    ):
        self._errors = Path(tempfile.mkstemp()[1])
        self._process = _SERVER.Process(target=_run, args=(words, folder, self._errors, prepare))
        self._process.start()

    def ends_within(self, seconds: float) -> bool:
        """Waits for the end; returns False if the command goes on after some seconds."""
        self._process.join(seconds)
        return self._process.exitcode is not None

    def kill(self) -> None:
        """Kills the process and its children by SIGKILL, and waits for the end."""
        self._process.kill()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)
        self.finish()

    def finish(self) -> tuple[int, str]:
        """Waits for the end; returns the status, and what was printed on standard error."""
        if not self.ends_within(LIMIT):
            self.kill()
            return -signal.SIGKILL, f"did not end within {LIMIT} s"
        errors = self._errors.read_text(errors="replace")
        self._errors.unlink()
        return self._process.exitcode or 0, errors


def _run(
    words: Sequence[str], folder: Path, errors: Path, prepare: Callable[[], None] | None
) -> None:
    os.setsid()
    os.chdir(folder)
    for number, place in ((1, os.devnull), (2, errors)):
        stream = os.open(place, os.O_WRONLY)
        os.dup2(stream, number)
        os.close(stream)
    if prepare:
        prepare()
    from distax.cli.main import main

    main(words)
