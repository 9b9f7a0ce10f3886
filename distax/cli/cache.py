"""Cache of compiled programs, kept on disk between commands."""

import hashlib
import os
import platform
import shutil
import stat
import warnings
from pathlib import Path

from platformdirs import user_cache_path

from distax.runtime.terminal import tell

_CLOSING = 0o1700
"""Permissions of a folder that is being emptied: those of the user alone, and a mark."""


def default_folder() -> Path:
    """Returns the folder of compiled programs: in the user's cache folder, one for each CPU type.

    The user's cache folder is `$XDG_CACHE_HOME` or `~/.cache` on Linux, `~/Library/Caches` on
    macOS.
    """
    return user_cache_path("distax", appauthor=False) / f"jax-{_cpu_type()}"


def keep_compiled_programs() -> None:
    """Makes JAX keep compiled programs on disk, unless `JAX_COMPILATION_CACHE_DIR` is set.

    JAX runs what it finds there. So the folder must be the user's own, and nobody else may write to
    it. Otherwise nothing is kept, with a warning.
    """
    import jax

    # JAX warns of each program that a full disk has no room for. It only costs time, later.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    folder = default_folder()
    try:
        problem = _make_private(folder)
    except OSError as error:
        problem = error.strerror or str(error)
    if problem:
        tell(
            f"compiled programs are not kept in {folder}: {problem}; set "
            "JAX_COMPILATION_CACHE_DIR to a folder of your own"
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # A program is kept if its compilation takes at least this many seconds. JAX's own 1 s would
    # leave out most of what a command compiles; with 0 s every trivial program would cost a file.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _make_private(folder: Path) -> str | None:
    """Makes a folder that only the user can write to; returns a reason if that is impossible.

    Entries of others, and all entries if others could write to the folder, are deleted.
    """
    if not folder.is_absolute():
        return "there is no home folder"
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    places = (folder.parent, folder)
    for place in places:
        place.mkdir(mode=0o700, exist_ok=True)
        if os.name == "posix" and place.stat().st_uid != os.geteuid():
            return f"{place} belongs to another user"
    # An open folder is closed before it is emptied, so that nothing is added meanwhile. The mark
    # stays if the process is killed, and tells the next one to empty it.
    if was_open := any(map(_is_open, places)):
        for place in places:
            place.chmod(_CLOSING)
    for entry in list(os.scandir(folder)):
        about = entry.stat(follow_symlinks=False)
        own = os.name != "posix" or about.st_uid == os.geteuid()
        if was_open or not own or stat.S_IFMT(about.st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            _delete(Path(entry.path))
    for place in reversed(places):
        if _is_open(place):
            place.chmod(0o700)
    return None


def _is_open(place: Path) -> bool:
    """Returns True for a folder that others can write to, or could until it is emptied."""
    mode = stat.S_IMODE(place.stat().st_mode)
    return bool(mode & (stat.S_IWGRP | stat.S_IWOTH)) or mode == _CLOSING


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _cpu_type() -> str:
    """Returns a hash of the CPU's instruction sets.

    Home folders are often shared between machines, and a program that was compiled for another CPU
    can crash this one.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        features = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        features = platform.processor()
    return hashlib.sha256(f"{platform.machine()} {features}".encode()).hexdigest()[:8]
