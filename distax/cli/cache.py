"""Compiled programs kept between runs."""

import hashlib
import os
import platform
import sys
from pathlib import Path


def default_folder() -> Path:
    """Where compiled programs are kept: a place in the user's cache folder for this kind of CPU."""
    if sys.platform == "darwin":
        caches = Path.home() / "Library/Caches"
    else:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "distax" / f"jax-{_cpu()}"


def keep_compiled_programs() -> None:
    """Have JAX keep what takes a moment to compile, unless the user has told it where."""
    import jax

    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(default_folder()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def _cpu() -> str:
    """A name for what this CPU can do: programs for another, sharing the folder, could crash it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        features = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        features = platform.processor()
    return hashlib.sha256(f"{platform.machine()} {features}".encode()).hexdigest()[:8]
