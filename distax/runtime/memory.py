"""Memory that does not suffice, on the host or on a device."""

from distax.runtime.errors import first_line

_WORDS = ("RESOURCE_EXHAUSTED", "Out of memory")
"""Words of XLA's errors for lack of memory, which have no class of their own."""


def lack_of_memory(error: Exception) -> str | None:
    """Returns the line for the user if an error says that memory ran out, and otherwise None."""
    import jax  # here, because the command line starts without it

    if isinstance(error, jax.errors.JaxRuntimeError):
        is_lack = any(words in str(error) for words in _WORDS)
    else:
        is_lack = isinstance(error, MemoryError)
    if not is_lack:
        return None
    return (
        f"the memory does not suffice ({first_line(error)}); take a smaller batch, model or image"
    )
