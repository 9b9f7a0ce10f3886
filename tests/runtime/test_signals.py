import os
import signal

import pytest

from distax.runtime.signals import plain_sigint, sigterm


def test_sigterm_sets_a_flag_in_the_block_alone():
    before = signal.getsignal(signal.SIGTERM)
    with sigterm() as asked:
        assert not asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("heard_by", "in_the_block"),
    [(signal.default_int_handler, signal.SIG_DFL), (signal.SIG_IGN, signal.SIG_IGN)],
    ids=["Python", "somebody else"],
)
def test_sigint_is_the_systems_in_the_block_unless_somebody_else_hears_it(heard_by, in_the_block):
    # A shell that starts the tests in the background has them ignore the signal.
    previous = signal.signal(signal.SIGINT, heard_by)
    try:
        with plain_sigint():
            assert signal.getsignal(signal.SIGINT) is in_the_block
        assert signal.getsignal(signal.SIGINT) is heard_by
    finally:
        signal.signal(signal.SIGINT, previous)
