"""Each fault adds a row to the table printed at the end: how often it was tried, what survived."""

import os

import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
ROWS = pytest.StashKey()


def pytest_configure(config):
    config.stash[ROWS] = []


@pytest.fixture
def tally(request):
    """tally(fault, tries, survived, lost): `lost` counts results that were there and are gone."""

    def add(fault, tries, survived, lost=0):
        request.config.stash[ROWS].append((fault, tries, survived, lost))

    return add


def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.write_sep("-", "faults")
    terminalreporter.write_line(f"{'fault':60} {'tries':>7} {'survived':>9} {'lost':>5}")
    for fault, tries, survived, lost in config.stash[ROWS]:
        terminalreporter.write_line(f"{fault:60} {tries:7} {survived:9} {lost:5}")
