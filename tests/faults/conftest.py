"""Collects a table of faults: how often each one was tried, and how many runs survived it."""

import os

import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
ROWS = pytest.StashKey()


def pytest_configure(config):
    """Starts with an empty table."""
    config.stash[ROWS] = []


@pytest.fixture
def tally(request):
    """tally(fault, tries, survived, lost) adds a row; `lost` counts results that disappeared."""

    def add(fault, tries, survived, lost=0):
        request.config.stash[ROWS].append((fault, tries, survived, lost))

    return add


def pytest_terminal_summary(terminalreporter, config):
    """Prints the table at the end."""
    terminalreporter.write_sep("-", "faults")
    terminalreporter.write_line(f"{'fault':60} {'tries':>7} {'survived':>9} {'lost':>5}")
    for fault, tries, survived, lost in config.stash[ROWS]:
        terminalreporter.write_line(f"{fault:60} {tries:7} {survived:9} {lost:5}")
