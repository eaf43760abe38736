"""A kill before a step of a write, in-process: from that moment on nothing reaches the disk."""

import itertools
import os
from contextlib import contextmanager, suppress
from unittest import mock

STEPS = ("open", "mkdir", "fsync", "replace", "unlink")


class Killed(BaseException):
    pass


@contextmanager
def killed_before(moment):
    """Kills the block before this step, and yields a list that then holds it."""
    steps, kills = itertools.count(), []

    def watched(function):
        def around(*args, **kwargs):
            if next(steps) >= moment:
                kills.append(function.__name__)
                raise Killed
            return function(*args, **kwargs)

        return around

    patched = {name: watched(getattr(os, name)) for name in STEPS}
    with mock.patch.multiple(os, **patched), suppress(Killed):
        yield kills
