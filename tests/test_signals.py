"""Ctrl-C and SIGTERM: one line and an exit code at any moment, no traceback, never swallowed."""

import os
import signal
import subprocess
import sys
import time
from threading import Thread

import pytest

from lstm_jax.cli.main import EXIT_CODES, main
from lstm_jax.errors import Interrupted, NothingToSave
from lstm_jax.signals import NOTHING_TO_SAVE, SAVED, SIGNALS, interrupt_on_signal, stop_on_signal

# What programs do to signals: libraries catch everything, and compilers stay in C for seconds.
SWALLOWS = """
import time
print("ready", flush=True)
for _ in range(20):
    try:
        time.sleep(1)
    except BaseException:
        pass
"""
STAYS_IN_C = """
import ctypes
print("ready", flush=True)
for _ in range(9):  # each signal ends one sleep
    ctypes.CDLL(None).sleep(20)
"""
IN_TRAINING = """
from lstm_jax.signals import stop_on_signal
with stop_on_signal(lambda line: print(line, flush=True)):
"""
TIDIES_UP = """
from lstm_jax.signals import interrupt_on_signal
with interrupt_on_signal():
    try:
        import time
        print("ready", flush=True)
        time.sleep(20)
    finally:
        print("tidied", flush=True)
"""
HEARS_LATE = """
import contextlib
import time
from lstm_jax import signals

def late(*kinds):  # what the listener calls between the signal and its answer
    time.sleep(0.2)
    return contextlib.suppress(*kinds)

signals.suppress = late
try:
    with signals.interrupt_on_signal():
        print("ready", flush=True)
        time.sleep(20)
finally:
    time.sleep(1.5)
    print("tidied", flush=True)
"""


@pytest.fixture
def start(tmp_path):
    """start(text): the command line, running an experiment file of this text."""
    started = []

    def start(text):
        (tmp_path / "mine.py").write_text(text)
        process = subprocess.Popen(
            [sys.executable, "-m", "lstm_jax", "run", "mine.py"], cwd=tmp_path,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def left(process):
    out, err = process.communicate(timeout=15)  # the programs would go on for longer
    return process.returncode, out.splitlines(), err.splitlines()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("text", [SWALLOWS, STAYS_IN_C], ids=["swallows", "stays in C"])
def test_a_signal_before_anything_is_saved_ends_in_one_line(start, text, number):
    process = start(text)
    process.send_signal(number)
    assert left(process) == (NOTHING_TO_SAVE, [], ["lstm_jax: stopped; nothing had to be saved"])


def test_in_training_the_first_signal_is_answered_at_once_and_the_second_one_ends_it(start):
    body = "\n".join(f"    {line}" for line in STAYS_IN_C.splitlines())
    process = start(IN_TRAINING + body)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "stopping after this segment; again to stop now\n"
    process.send_signal(signal.SIGINT)
    line = "lstm_jax: stopped; the same command goes on from what was saved"
    assert left(process) == (SAVED, [], [line])


@pytest.mark.parametrize("text", [TIDIES_UP, HEARS_LATE], ids=["in the block", "hears late"])
def test_what_has_to_be_tidied_up_is(start, text):
    process = start(text)
    process.send_signal(signal.SIGTERM)
    assert left(process) == (
        NOTHING_TO_SAVE, ["tidied"], ["lstm_jax: stopped; nothing had to be saved"],
    )  # fmt: skip


def wait_for(ready):
    deadline = time.monotonic() + 10
    while not ready() and time.monotonic() < deadline:
        time.sleep(0.001)
    assert ready()


def kill_and_sleep(number):
    os.kill(os.getpid(), number)
    time.sleep(5)


@pytest.mark.parametrize("number", SIGNALS)
def test_in_a_process_of_somebody_else_the_second_one_is_an_exception(number):
    before, messages = signal.getsignal(number), []
    with stop_on_signal(messages.append) as stopped:
        assert not stopped()
        os.kill(os.getpid(), number)
        wait_for(stopped)
        wait_for(lambda: messages)
        assert messages == ["stopping after this segment; again to stop now"]
        with pytest.raises(KeyboardInterrupt):
            kill_and_sleep(number)
    assert signal.getsignal(number) is before
    assert len(messages) == 1


def test_it_can_be_listened_for_again_and_again():
    before = len(os.listdir("/dev/fd"))
    for _ in range(3):
        with stop_on_signal(lambda _: None) as stopped:
            os.kill(os.getpid(), signal.SIGTERM)
            wait_for(stopped)
    wait_for(lambda: len(os.listdir("/dev/fd")) == before)


def test_a_screen_that_is_gone_stops_it_all_the_same():
    def broken(_):
        raise OSError

    with stop_on_signal(broken) as stopped:
        os.kill(os.getpid(), signal.SIGINT)
        wait_for(stopped)


def test_a_thread_that_cannot_hear_is_not_stopped():
    seen = []

    def run():
        with interrupt_on_signal(), stop_on_signal(seen.append) as stopped:
            seen.append(stopped())

    thread = Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [False]


def test_a_keyboard_interrupt_is_one_line(monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lstm_jax.cli.main.parse", interrupted)
    with pytest.raises(SystemExit) as left:
        main([])
    assert (left.value.code, EXIT_CODES[NothingToSave]) == (NOTHING_TO_SAVE,) * 2
    assert EXIT_CODES[Interrupted] == SAVED
    assert capsys.readouterr().err == "lstm_jax: stopped; nothing had to be saved\n"


def test_no_exit_code_is_that_of_a_crash_or_of_another_error():
    codes = list(EXIT_CODES.values())
    assert len(set(codes)) == len(codes)
    crashes = {0, 1, *range(126, 130), *range(131, 256)}  # Python's, a shell's, those of signals
    assert not crashes & set(codes)
