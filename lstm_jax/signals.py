"""Ctrl-C and SIGTERM: answered at once, at any moment, in one line, and never swallowed.

Python runs a signal handler in the main thread, between two bytecode instructions. The handler
therefore waits while XLA compiles or a segment runs, and an exception that it raises is lost where
an import catches everything. For this reason a separate thread receives each signal through the
wakeup descriptor, to which Python's handler in C writes at once, and this thread may end the
process. It is late only where a library holds Python's lock, such as while a library is loaded.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread, current_thread, main_thread
from typing import Any, NamedTuple, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAVED, NOTHING_TO_SAVE = 75, 130  # exit codes


class SignalHandler(NamedTuple):
    """The two reactions to a signal."""

    in_listener: Callable[[], None]  # at once, in the listening thread
    in_main_thread: Callable[[], None]  # later, in the main thread, where it may raise


_handlers: list[SignalHandler] = []  # the last one is active
_process_is_ours = False  # our own process may be ended; a notebook's may not


def claim_process() -> None:
    """Declares that our command line started this process and handles its signals to the end.

    Until another handler is active, a signal ends the process: nothing has to be saved.
    """
    global _process_is_ours
    _process_is_ours = True
    _handlers.append(
        SignalHandler(
            lambda: exit_now(NOTHING_TO_SAVE, "stopped; nothing had to be saved"), _do_nothing
        )
    )
    _start_listener()


def ignore_signals() -> None:
    """Ignores signals from now on: the work is done, and the exit code is decided."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def exit_now(code: int, message: str) -> NoReturn:
    """Ends the process, whatever its other threads do: every file on the disk is whole.

    It raises no exception, because an import may swallow one and a running program delays it.
    """
    with suppress(OSError):
        if os.isatty(1):
            os.write(1, b"\x1b[?25h")  # shows the cursor that a live progress bar has hidden
        os.write(2, f"lstm_jax: {message}\n".encode())
    os._exit(code)


@contextmanager
def exit_on_signal(code: int, message: str) -> Iterator[None]:
    """Ends our own process with this code and message when a signal arrives in the block."""
    if not _process_is_ours:
        yield
        return
    with _active(SignalHandler(lambda: exit_now(code, message), _do_nothing)):
        yield


@contextmanager
def interrupt_on_signal() -> Iterator[None]:
    """Raises KeyboardInterrupt when a signal arrives in the block, which has to clean up."""
    received = list[bool]()

    def interrupt() -> NoReturn:
        # Left behind, a late listener would take this signal for one after the block, and end the
        # process. A lock to wait for could be held by the code that the signal interrupts.
        latest = time.monotonic() + 1
        while not received and time.monotonic() < latest:
            time.sleep(0.001)
        raise KeyboardInterrupt

    if not _process_is_ours:  # there SIGINT raises it already
        yield
        return
    with _active(SignalHandler(lambda: received.append(True), interrupt)):
        yield


@contextmanager
def stop_on_signal(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Yields a function that returns whether a signal arrived: training stops after its segment.

    The first signal is answered by a line. The second one ends our own process, and raises
    KeyboardInterrupt in any other. Outside the main thread Python delivers no signals.
    """
    received, delivered = list[bool](), list[bool]()

    def in_listener() -> None:
        received.append(True)
        if len(received) == 1:
            say("stopping after this segment; again to stop now")
        elif _process_is_ours:
            exit_now(SAVED, "stopped; the same command goes on from what was saved")

    def in_main_thread() -> None:
        delivered.append(True)
        if len(delivered) > 1 and not _process_is_ours:
            raise KeyboardInterrupt

    with _active(SignalHandler(in_listener, in_main_thread)):
        yield lambda: bool(received)


@contextmanager
def _active(handler: SignalHandler) -> Iterator[None]:
    if current_thread() is not main_thread():
        yield
        return
    _handlers.append(handler)
    stop_listener = _do_nothing if _process_is_ours else _start_listener()
    try:
        yield
    finally:
        stop_listener()
        _handlers.remove(handler)


def _start_listener() -> Callable[[], None]:
    """Starts the listening thread. Returns a function that ends it and restores the handlers that
    were there before.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def listen() -> None:
        while os.read(reading, 1) != b"":
            with suppress(Exception):  # such as a screen that is gone
                _handlers[-1].in_listener()
        os.close(reading)

    def deliver(_number: int, _frame: Any) -> None:
        _handlers[-1].in_main_thread()

    # In this order, and restored in the opposite one, no signal is lost in between.
    descriptor = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    before = {number: signal.signal(number, deliver) for number in SIGNALS}
    thread = Thread(target=listen, daemon=True)
    thread.start()

    def stop() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(descriptor)
        os.close(writing)
        thread.join()  # it has answered the signals that came before

    return stop


def _do_nothing() -> None:
    pass
