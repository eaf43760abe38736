"""Ctrl-C and SIGTERM: heard at any moment, answered at once, in one line, never swallowed.

Python runs the handler of a signal in the main thread, between two of its instructions. So it waits
while XLA compiles or a segment runs, and what it raises is lost where an import catches everything.
Therefore a thread of its own hears each signal, through the descriptor to which Python's handler in
C writes at once, and it may end the process. It takes a moment only where a library holds Python's
lock, as while one is loaded.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread, current_thread, main_thread
from typing import Any, NamedTuple, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAVED, NOTHING_TO_SAVE = 75, 130  # exit codes


class SignalHandler(NamedTuple):
    """What is done about a signal."""

    at_once: Callable[[], None]  # in the thread that hears it
    in_turn: Callable[[], None]  # later, in the main thread, where it may raise


_handlers: list[SignalHandler] = []  # the last one hears
_process_is_ours = False  # then it may be ended; a notebook's may not


def own_process() -> None:
    """Says that this process was begun by our command line, which hears signals to its end.

    At first one ends it: nothing has to be saved.
    """
    global _process_is_ours
    _process_is_ours = True
    _handlers.append(
        SignalHandler(lambda: leave(NOTHING_TO_SAVE, "stopped; nothing had to be saved"), _nothing)
    )
    _listen()


def ignore() -> None:
    """Has signals ignored: the work is done, its exit code stands, and the process is ending."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def leave(code: int, line: str) -> NoReturn:
    """ModelSpec the process, whatever its other threads do: every file on the disk is whole.

    It is not left by an exception, which an import may swallow and a running program delays.
    """
    with suppress(OSError):
        if os.isatty(1):
            os.write(1, b"\x1b[?25h")  # a live bar had hidden the cursor
        os.write(2, f"lstm_jax: {line}\n".encode())
    os._exit(code)


@contextmanager
def leaving(code: int, line: str) -> Iterator[None]:
    """While the block runs, a signal ends a process of ours with this code and line."""
    if not _process_is_ours:
        yield
        return
    with _heard(SignalHandler(lambda: leave(code, line), _nothing)):
        yield


@contextmanager
def raising() -> Iterator[None]:
    """While the block runs, which has something to tidy up, a signal is a KeyboardInterrupt."""
    if not _process_is_ours:  # there SIGINT is one already
        yield
        return
    with _heard(SignalHandler(_nothing, _raise)):
        yield


@contextmanager
def stoppable(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Yields a function that tells whether to stop after this segment: whether a signal was heard.

    The first one is answered by a line. The second one ends a process of ours, and is a
    KeyboardInterrupt in another's. Outside the main thread Python lets nobody hear signals.
    """
    seen, handled = list[bool](), list[bool]()

    def at_once() -> None:
        seen.append(True)
        if len(seen) == 1:
            say("stopping after this segment; again to stop now")
        elif _process_is_ours:
            leave(SAVED, "stopped; the same command goes on from what was saved")

    def in_turn() -> None:
        handled.append(True)
        if len(handled) > 1 and not _process_is_ours:
            raise KeyboardInterrupt

    with _heard(SignalHandler(at_once, in_turn)):
        yield lambda: bool(seen)


@contextmanager
def _heard(handler: SignalHandler) -> Iterator[None]:
    if current_thread() is not main_thread():
        yield
        return
    _handlers.append(handler)
    stop_listening = _nothing if _process_is_ours else _listen()
    try:
        yield
    finally:
        stop_listening()
        _handlers.remove(handler)


def _listen() -> Callable[[], None]:
    """Starts the thread that hears. Returns a function that ends it, and lets everybody hear what
    they heard before.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def hear() -> None:
        while os.read(reading, 1) != b"":
            with suppress(Exception):  # such as a screen that is gone
                _handlers[-1].at_once()
        os.close(reading)

    # In this order, and back in the opposite one, no signal is lost in between.
    descriptor = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    before = {number: signal.signal(number, _in_turn) for number in SIGNALS}
    thread = Thread(target=hear, daemon=True)
    thread.start()

    def stop() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(descriptor)
        os.close(writing)
        thread.join()  # it has answered what came before

    return stop


def _in_turn(_number: int, _frame: Any) -> None:
    _handlers[-1].in_turn()


def _raise() -> NoReturn:
    raise KeyboardInterrupt


def _nothing() -> None:
    pass
