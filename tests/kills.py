"""Simulates a kill during a write: from a given call on, nothing reaches the disk."""

import itertools
import os
from contextlib import contextmanager, suppress
from unittest import mock

CALLS = ("open", "mkdir", "fsync", "replace", "unlink")


class Killed(BaseException):
    """Ends a block as a kill would: nothing but `killed_before` catches it."""


@contextmanager
def killed_before(moment):
    """Kills the block before its call number `moment` that changes the disk.

    Yields a list, which then holds the name of that call; it stays empty if there was no such call.
    """
    calls, kills = itertools.count(), []

    def watched(function):
        def around(*args, **kwargs):
            if next(calls) >= moment:
                kills.append(function.__name__)
                raise Killed
            return function(*args, **kwargs)

        return around

    patched = {name: watched(getattr(os, name)) for name in CALLS}
    with mock.patch.multiple(os, **patched), suppress(Killed):
        yield kills
