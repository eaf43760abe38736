"""Peers for `test_benchmarks.py`. `benchmarks.worker` starts each in a process of its own.

The file imports no package, so that a process starts at once.
"""

import time


def steady(task):
    def run(start, stop):
        print("what a library prints must not reach the protocol")
        time.sleep(0.001 * (stop - start))
        return 0.5

    return {"only": lambda: run}


def wrong(task):
    return {"only": lambda: lambda start, stop: 0.6}


def two_speeds(task):
    def setting(seconds):
        return lambda: lambda start, stop: time.sleep(seconds * (stop - start)) or 0.5

    return {"slow": setting(0.01), "fast": setting(0.0005)}


def broken(task):
    raise RuntimeError("no such kernel")
