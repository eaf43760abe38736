"""`python killed_at.py N ARGUMENTS` runs lstm_jax and kills it at the Nth moment around a write.

A moment is before or after an fsync, a rename or the removal of a file. Before an fsync the file is
written, but not yet safe. With N = 0 nothing is killed, and the last line is the number of moments.
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
