"""`python killed_at.py N ARGUMENTS`: lstm_jax, killed at the Nth moment around a write to the disk.

A moment is before or after an fsync, a rename or the removal of a file: before an fsync the file is
written and not yet safe. With N = 0 nothing is killed; the number of moments is the last line.
"""

import os
import signal
import sys

from lstm_jax.cli import main

victim, seen = int(sys.argv[1]), 0


def moment():
    global seen
    seen += 1
    if seen == victim:
        os.kill(os.getpid(), signal.SIGKILL)


def watched(function):
    def around(*args, **kwargs):
        moment()
        result = function(*args, **kwargs)
        moment()
        return result

    return around


os.fsync, os.replace, os.unlink = map(watched, (os.fsync, os.replace, os.unlink))
main.main(sys.argv[2:])
print(seen)
