"""Times of calls, of several candidates in turn."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax

from distax.benchmarking.figures import Figure
from distax.runtime.errors import DistaxError, first_line

_FEWEST_ROUNDS, _MOST_ROUNDS, _ENOUGH_SECONDS = 3, 20, 0.5
"""Short calls are repeated more often: other work on the machine disturbs them more."""


@dataclass(frozen=True)
class Candidate:
    """A computation that is ready to be timed.

    Attributes:
      call: makes one call and returns its time in seconds.
      program_bytes: memory of a call, as the compiler plans it; None if unknown.
      peak_memory: returns the largest memory in use on the device so far; None if it does not tell.
    """

    call: Callable[[], float]
    program_bytes: int | None = None
    peak_memory: Callable[[], int | None] = lambda: None


def jax_candidate(call: Callable[[], Any], program_bytes: int | None = None) -> Candidate:
    """Makes a candidate of a function whose results are arrays of JAX."""
    return Candidate(lambda: _seconds_of(call), program_bytes, _peak_memory)


def time_in_turn(
    figures: Mapping[str, Figure], makers: Mapping[str, Callable[[], Candidate]]
) -> list[Figure]:
    """Times candidates in turn, so that other work on the machine slows all of them alike.

    Args:
      figures: by library, the figures to complete.
      makers: by library, functions that prepare a candidate.

    Returns:
      The figures with times and memory, or with the reason why there is none.
    """
    made, first, fastest = dict[str, Candidate](), dict[str, float](), dict[str, float]()
    refused = {}
    for library, make in makers.items():
        begin = time.perf_counter()
        try:
            candidate = make()
            candidate.call()
            made[library], first[library] = candidate, time.perf_counter() - begin
        # JAX's error for a device without enough memory, and the errors of PyTorch's process.
        except (jax.errors.JaxRuntimeError, DistaxError) as error:
            refused[library] = first_line(error)
    begin, rounds = time.perf_counter(), 0
    while made and rounds < _MOST_ROUNDS:
        for library, candidate in made.items():
            seconds = candidate.call()
            fastest[library] = min(seconds, fastest.get(library, seconds))
        rounds += 1
        if rounds >= _FEWEST_ROUNDS and time.perf_counter() - begin > _ENOUGH_SECONDS:
            break
    return [
        replace(figures[library], refused=refused[library])
        if library in refused
        else replace(
            figures[library],
            seconds=fastest[library],
            first_seconds=first[library],
            program_bytes=made[library].program_bytes,
            peak_memory_bytes=made[library].peak_memory(),
        )
        for library in makers
    ]


def time_fastest(call: Callable[[], Any], repetitions: int) -> float:
    """Returns the time in seconds of the fastest call after a first call that compiles."""
    _seconds_of(call)
    return min(_seconds_of(call) for _ in range(repetitions))


def _seconds_of(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def _peak_memory() -> int | None:
    stats = jax.local_devices()[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    return None if peak is None else int(peak)
