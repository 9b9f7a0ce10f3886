import os
import signal
import subprocess
import sys
import time

import pytest

from distax.runtime.signals import ending_soon, plain_sigint, sigterm, stop_requests

BUSY = """
import hashlib, os, signal, threading, time
from contextlib import contextmanager
from distax.runtime.signals import ending_soon, sigterm, stop_requests

def tell():
    start = time.process_time()
    while time.process_time() < start + 0.1:  # which only the long instruction takes
        time.sleep(0.01)
    print("ready", flush=True)

def say():
    print("last words", flush=True)

@contextmanager
def interrupted_before():
    os.kill(os.getpid(), signal.SIGINT)
    yield

with {block}:
    threading.Thread(target=tell, daemon=True).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # half an hour in which Python hears no signal
"""


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


def test_the_first_sigint_asks_to_stop_and_the_second_interrupts():
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stop_requests(lambda: None) as asked:
            assert asked() is None
            os.kill(os.getpid(), signal.SIGINT)
            assert asked() == signal.SIGINT
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, previous)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_busy_process_ends_soon(number):
    check_end("ending_soon(say, 0.2), sigterm()", number)


def test_a_second_sigint_ends_a_process_that_is_too_busy_to_stop():
    check_end("stop_requests(say, 0.2), interrupted_before()", signal.SIGINT)


def check_end(block, number):
    """Sends a signal to a process that hears none in a block, and checks that it ends."""
    command = [sys.executable, "-c", BUSY.replace("{block}", block)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        start = time.monotonic()
        process.send_signal(number)
        assert process.stdout.read() == "last words\n"
        assert process.wait() == 128 + number
        assert time.monotonic() - start < 5


def test_a_block_that_ends_by_itself_goes_on():
    said = []
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before)
    with ending_soon(lambda: said.append("no"), 0.05), sigterm() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked()
    time.sleep(0.1)
    assert said == []
    assert signal.set_wakeup_fd(before) == before
