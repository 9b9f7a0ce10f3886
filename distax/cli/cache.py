"""Cache of compiled programs, kept on disk between commands."""

import hashlib
import platform
from pathlib import Path

from platformdirs import user_cache_path


def default_folder() -> Path:
    """Returns the folder of compiled programs: in the user's cache folder, one for each CPU type.

    The user's cache folder is `$XDG_CACHE_HOME` or `~/.cache` on Linux, `~/Library/Caches` on
    macOS.
    """
    return user_cache_path("distax", appauthor=False) / f"jax-{_cpu_type()}"


def keep_compiled_programs() -> None:
    """Makes JAX keep compiled programs on disk, unless `JAX_COMPILATION_CACHE_DIR` is set."""
    import jax

    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(default_folder()))
        # A program is kept if its compilation takes at least this many seconds. JAX's own 1 s would
        # leave out most of what a command compiles; with 0 s every trivial program would cost a
        # file.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


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
