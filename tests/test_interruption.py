import os
import signal

from distax.interruption import plain_sigint, sigterm


def test_sigterm_sets_a_flag_in_the_block_alone():
    before = signal.getsignal(signal.SIGTERM)
    with sigterm() as asked:
        assert not asked()
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked()
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigint_is_the_systems_in_the_block_alone():
    # A shell that starts the tests in the background has them ignore the signal.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with plain_sigint():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, previous)


def test_sigint_that_somebody_else_hears_stays_theirs():
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with plain_sigint():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, previous)
