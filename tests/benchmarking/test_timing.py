import time

import jax
import jax.numpy as jnp
import pytest

from distax import DistaxError
from distax.benchmarking import Figure
from distax.benchmarking.timing import Candidate, jax_candidate, time_fastest, time_in_turn


def test_the_first_call_is_not_the_time():
    naps = iter([0.2, 0.2, 0.08, 0.2, 0.2, 0.2])

    def call():
        time.sleep(next(naps))
        return jnp.zeros(())

    (figure,) = time_in_turn({"nap": Figure("nap", 10)}, {"nap": lambda: jax_candidate(call, 7)})
    assert figure.first_seconds >= 0.2
    assert 0.08 <= figure.seconds < 0.2
    assert figure.images_per_second == pytest.approx(10 / figure.seconds)
    assert figure.program_bytes == 7
    assert figure.peak_memory_bytes is None  # CPUs do not tell it


def test_candidates_are_timed_in_turn():
    calls = []

    def make(name, seconds):
        def call():
            calls.append(name)
            return seconds[min(calls.count(name), len(seconds)) - 1]

        return lambda: Candidate(call, peak_memory=lambda: 5)

    figures = {name: Figure("nap", 1, name) for name in "ab"}
    a, b = time_in_turn(figures, {"a": make("a", [9.0, 4.0, 3.0, 5.0]), "b": make("b", [8.0])})
    assert calls[:8] == list("ababab"[:2] + "ababab")
    assert (a.library, a.seconds, b.library, b.seconds) == ("a", 3.0, "b", 8.0)
    assert a.peak_memory_bytes == 5


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no memory\nmore"),
            "RESOURCE_EXHAUSTED: no memory",
        ),
        (DistaxError("PyTorch failed"), "PyTorch failed"),
    ],
)
def test_a_candidate_that_fails_is_named_and_the_others_are_timed(error, refused):
    def fail():
        raise error

    figures = {name: Figure("nap", 1, name) for name in "ab"}
    a, b = time_in_turn(
        figures, {"a": lambda: Candidate(fail), "b": lambda: Candidate(lambda: 2.0)}
    )
    assert (a.library, a.seconds, a.refused) == ("a", None, refused)
    assert (b.library, b.seconds, b.refused) == ("b", 2.0, None)


def test_the_fastest_repetition_counts():
    naps = iter([0.2, 0.1, 0.02])
    assert 0.02 <= time_fastest(lambda: time.sleep(next(naps)), 2) < 0.1
